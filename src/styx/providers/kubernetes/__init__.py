"""Kubernetes: a Runner of pods for each context and namespace in the settings.

    settings    what `[providers.kubernetes]` may say
    api         the client: imported at the first call, credentials read again when refused
    objects     what is read of the API's objects
    errors      the one table of what the API means by an error
    pod         an order as a pod and its Secret
    fetch       what the pod's init container runs to get the working folder
    outcome     what a pod's status means for its attempt
    watch       one list and one watch for all pods
    logs        a log as a stream of bytes that survives broken connections
    beginnings  how logs began, for a server that starts anew
    reader      logs read, some at a time
    calls       the calls that change something
    entry       what is known of one pod
    strangers   pods that nobody knows
    runner      puts these together
    check       whether all this can be used from here, as whom
    provider    the whole

Importing this package imports no client library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.providers.base import Context, Provider

__all__ = ["make"]


def make(settings: Mapping[str, Any], context: Context) -> Provider:
    """The provider, of what `[providers.kubernetes]` says. Raises SpecError with everything that is wrong in it."""
    from styx.providers.kubernetes.provider import Kubernetes
    from styx.providers.kubernetes.settings import read

    return Kubernetes(read(settings, context.environ), context)
