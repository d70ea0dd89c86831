"""The role's credentials are handed out by IMDSv2 alone, and to no other host. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.demands import Demand, unmet_by_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.model import Resource, Violation

_DEMANDS = (
    Demand(
        "metadataOptions.httpTokens",
        "required",
        "version 1 gives the role's credentials to any request that a process can be talked into",
    ),
    Demand(
        "metadataOptions.httpPutResponseHopLimit",
        1,
        "with a second hop a forwarded packet could fetch the role's credentials",
    ),
)

DEMANDS = {
    "aws:ec2/instance:Instance": _DEMANDS,
    "aws:ec2/launchTemplate:LaunchTemplate": _DEMANDS,
}


def judge(resource: Resource) -> Iterator[Violation]:
    """Whatever boots machines asks for tokens, and for one hop."""
    yield from unmet_by_type(resource, DEMANDS)
