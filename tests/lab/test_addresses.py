"""The load balancer has an address in each zone; a client's helper leaves one that goes silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab_driver import eventually
from lab_helper import beside, with_helper
from lab_pings import Pings

if TYPE_CHECKING:
    from pathlib import Path

    from lab_driver import LabDriver

CLIENT = "nomad"
LEFT_WITHIN = 15.0
"""Seconds of silence: two questions that nobody answers, the second's limit, and one handshake. A
client without a helper would stay on the address that its tunnel was brought up with."""


def test_the_helper_dials_the_other_zones_address_when_one_goes_silent(
    lab: LabDriver, tmp_path: Path
) -> None:
    lab.both_healthy()
    lab.lab("client", CLIENT, timeout=60)
    events = tmp_path / "events"

    def dialled() -> str:
        return lab.on(CLIENT, "wg", "show", CLIENT, "endpoints").stdout.split()[1].split(":")[0]

    with (
        Pings(lab, CLIENT, at_most=120) as pings,
        beside(CLIENT, *with_helper(lab, CLIENT), log=events),
    ):
        eventually("the helper has been answered", lambda: "kept" in events.read_text(), within=30)
        first = dialled()
        with lab.cutting(CLIENT) as drop:
            drop(f"ip daddr {first}")
            drop(f"ip saddr {first}")
            eventually("another address is dialled", lambda: dialled() != first, within=30)
            lab.answered(CLIENT, within=20)
            second = dialled()
            assert second != first, "it answers, and that stays"
        assert dialled() == second, "nobody goes back while it works"
    assert f"dialling {second}" in events.read_text()
    assert pings.longest_gap <= LEFT_WITHIN
