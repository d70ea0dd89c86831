"""Clients come and go behind one NAT, and nobody's way out changes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import edge, netns

if TYPE_CHECKING:
    from lab_driver import LabDriver

LOWEST = "02:00:00:00:00:00"
"""A bridge without an address of its own takes its lowest port's."""


def test_a_new_neighbour_changes_nobodys_way_out(lab: LabDriver) -> None:
    way_out = ("ping", "-c", "1", "-W", "1", str(edge.CLIENTS[1]))
    assert lab.on("alice", *way_out).status == 0
    try:
        neighbour = edge.create_client("neighbour")
        netns.ip(edge.NAT, "link", "set", neighbour.link, "address", LOWEST)
        assert lab.on("alice", *way_out).status == 0
    finally:
        edge.delete_client("neighbour")
