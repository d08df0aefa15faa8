"""Amazon Web Services: EC2 as a Provisioner, on demand and spot, and Lambda as a Runner of functions that are there by name.

    settings     what `[providers.aws]` may say, and what is wrong with it
    clients      the SDK: imported at the first call, warmed in a thread, never retrying by itself
    errors       the one table of what AWS means by an error
    ground       what a machine stands on: image, network, security group
    ec2          machines: launch, find, listing, terminate, stop, start
    kinds        what an instance type holds, and its accelerators by their common names
    catalog      the offers that come with the program
    offers       the offers that the account's own APIs show now
    functions    invocations of Lambda functions
    check        whether all this can be used from here, as whom
    provider     puts it together

Importing this package imports no SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.providers.base import Context, Provider

__all__ = ["make"]


def make(settings: Mapping[str, Any], context: Context) -> Provider:
    """The provider, of what `[providers.aws]` says. Raises SpecError with everything that is wrong in it."""
    from styx.providers.aws.provider import Aws
    from styx.providers.aws.settings import read

    return Aws(read(settings, context.environ), context)
