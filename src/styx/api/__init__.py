"""The HTTP surface: routes, authorisation, problems. It speaks to a `Verbs` and knows nothing of what is behind it."""
