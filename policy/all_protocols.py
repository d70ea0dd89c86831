"""Whom a rule lets in with every protocol: a security group, or private addresses. Pure.

A gateway that clients' answers come to has to let in whatever they are. That is bearable from the
VPC, where the sender is one of ours; from a public block, however narrow, it would open the
gateway's own ports to another's machines.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from policy.model import violation
from policy.open_ingress import is_world, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.model import Resource, Violation

ALL = ("-1", "all")
"""As AWS and its provider write all protocols."""
PRIVATE = tuple(
    ip_network(block)
    for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""RFC 1918, RFC 6598 and RFC 4193: what a VPC's own addresses, and those behind it, are of."""


def judge(resource: Resource) -> Iterator[Violation]:
    """No public block may send a machine everything; `open_ingress` speaks of the whole world."""
    for said in sources(resource):
        if str(said.protocol) in ALL and not is_world(said.source) and not _is_private(said.source):
            why = "are public addresses that every protocol is let in from"
            cure = "name protocol and ports, or a private block"
            yield violation(resource, said.path, why, cure, value=said.source)


def _is_private(source: Any) -> bool:
    try:
        network = ip_network(str(source), strict=False)
    except ValueError:
        return True  # not known yet
    return any(
        network.version == block.version and network.subnet_of(block)  # ty: ignore[invalid-argument-type]
        for block in PRIVATE
    )
