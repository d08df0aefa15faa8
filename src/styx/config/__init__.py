"""Where Styx keeps things and what it is set to: folders, `styx.toml`, `STYX_*` variables."""
