"""`python -m styx` is `styx`."""

from __future__ import annotations

from styx.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
