"""One gateway's clock is ahead by a minute: it takes no clients until it is right."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from lab_driver import eventually
from lab_pings import Pings, served_by

from bench.harm import dropping
from lab import paths, qemu, security, vpc

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from lab_driver import LabDriver

AHEAD = 60.0
FAR = AHEAD - 15
"""Seconds; the commands that look take their time under emulation."""

NOTICED = 90.0
"""Seconds: chrony asks every 16 s, the agent every 5, the load balancer needs two checks."""

SILENT = 21.0
"""Seconds. Gossip of a clock like that is refused: WireGuard's own 15 s are what is left."""

BOOT = 600.0


def ahead(lab: LabDriver, gateway: str) -> float:
    """Seconds by which a gateway's clock is ahead of ours."""
    return float(lab.on(gateway, "date", "+%s.%N").stdout) - time.time()


def without_time() -> AbstractContextManager[None]:
    """The VPC's time service answers nobody meanwhile."""
    base = "{ type filter hook input priority -10 ; }"
    asked = f"ip daddr {security.TIME} udp dport 123"
    return dropping(vpc.NAMESPACE, "ip no_time", base, asked)


@contextmanager
def booting_ahead() -> Generator[None]:
    """Machines that start meanwhile have a real-time clock that is ahead."""
    file = paths.run() / qemu.CLOCK_AHEAD
    file.write_text(str(AHEAD))
    try:
        yield
    finally:
        file.unlink()


@pytest.mark.timeout(1800)
def test_a_gateway_whose_clock_jumps_gives_its_clients_away_until_it_is_right(
    lab: LabDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.both_healthy(within=BOOT)  # the test before has killed one
    serving = served_by(lab, "alice")
    with Pings(lab, "alice", at_most=600) as pings:
        try:
            lab.on(serving, "date", "--set", f"+{AHEAD:.0f} seconds")
            assert ahead(lab, serving) > FAR
            eventually(
                "the load balancer lets go of it",
                lambda: serving not in lab.healthy(),
                within=NOTICED,
            )
            status, text = lab.health(serving)
            assert status == 503
            # off by so much, or, just after the jump, without a source: chrony begins anew
            assert "the clock is not synchronised" in text
            lab.answered("alice", within=SILENT + 5)
        finally:
            # it steps just after its start only; `makestep` does nothing while it has no source
            lab.on(serving, "systemctl", "restart", "chrony")
        lab.both_healthy(within=NOTICED)
        assert abs(ahead(lab, serving)) < 5
    with capsys.disabled():
        print(f"\nclock jumped: longest gap {pings.longest_gap:.1f} s, {pings.lost} pings lost")  # noqa: T201
    assert pings.longest_gap <= SILENT


@pytest.mark.timeout(1800)
def test_a_gateway_that_boots_a_minute_ahead_takes_no_client_before_it_knows_the_time(
    lab: LabDriver,
) -> None:
    before = set(lab.both_healthy())
    victim = next(one for one in before if one != served_by(lab, "alice"))
    with without_time():
        with booting_ahead():
            lab.lab("kill", victim)
            new = eventually("a new gateway", lambda: set(lab.gateways()) - before, within=BOOT)
            (fresh,) = new

            def unready() -> bool:
                return "clock" in lab.faults(fresh) and ahead(lab, fresh) > FAR

            eventually("it says that its clock is not right", unready, within=BOOT)
        assert lab.health(fresh)[0] == 503
        assert fresh not in lab.healthy()
        lab.answered("alice")
    lab.both_healthy(but=victim, within=NOTICED)
    assert abs(ahead(lab, fresh)) < 5
    lab.answered("alice")
