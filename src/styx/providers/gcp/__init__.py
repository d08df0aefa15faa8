"""Google Cloud: Compute Engine as a Provisioner of instances, on demand and SPOT.

    settings     what `[providers.gcp]` may say, and what is wrong with it
    credentials  whose they are, and the access tokens they give (gcloud-aio-auth, imported at the first call)
    api          one request and its answer, over aiohttp
    errors       the one table of what Google means by an error
    operations   what an accepted request has come to
    kinds        machine types, the accelerators in them or attached to them, and what each family asks of an instance
    blueprint    the instance that an order becomes
    compute      instances: launch, find, listing, terminate, stop, start
    catalog      the offers that come with the program
    offers       the offers that the project's own APIs show now
    check        whether all this can be used from here, as whom
    provider     puts it together

Importing this package imports no library of Google's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.providers.base import Context, Provider

__all__ = ["make"]


def make(settings: Mapping[str, Any], context: Context) -> Provider:
    """The provider, of what `[providers.gcp]` says. Raises SpecError with everything that is wrong in it."""
    from styx.providers.gcp.provider import Gcp
    from styx.providers.gcp.settings import read

    return Gcp(read(settings, context.environ), context)
