"""What live-check makes of what its clients have felt."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from bench.echoes import Echoes
from bench.initiation import Identity
from bench.live_clients import LiveClient, settings
from bench.live_rounds import figures_of, longest_outage
from registry.items import Peer


def answered(*at: float) -> Echoes:
    """A client with an answer at each of these moments."""
    made = Echoes()
    for number, moment in enumerate(at):
        made.send(number, moment - 0.01)
        made.hear(number, moment)
    return made


def gap(kind: str, seconds: float, *, takeover: bool = True, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "takeover": takeover, "gap": seconds, "resumed": True, **more}


def test_a_gateway_that_dies_sometime_after_the_command_is_found_by_the_longest_silence() -> None:
    found = longest_outage(answered(0.9, 1.1, 1.2, 9.2, 9.3, 12.0), 1.0, 12.1)
    assert (found.last, found.resumed) == (1.2, pytest.approx(9.2))
    assert found.gap == pytest.approx(8.0)


def test_a_silence_that_had_begun_before_the_command_counts_from_its_beginning() -> None:
    found = longest_outage(answered(0.5, 4.0, 4.1), 1.0, 4.2)
    assert (found.last, found.resumed) == (0.5, 4.0)


def test_who_is_silent_at_the_end_has_not_resumed() -> None:
    found = longest_outage(answered(0.9, 1.2), 1.0, 30.0)
    assert found.resumed is None
    assert found.gap == pytest.approx(28.8)


def test_the_wait_for_the_last_pings_answer_is_no_outage() -> None:
    assert longest_outage(answered(0.95, 1.05), 1.0, 1.4).resumed is not None


def test_failover_has_the_benchs_names_with_takeover_and_without() -> None:
    after: dict[str, Any] = {"watched": 60.0, "longest_silence_after": 0.2}
    found = figures_of("failover", [gap("death", 6.0, forced=None, **after)] * 100)
    assert found["takeover_gap_p99_checks"] == 6.0
    assert found["second_outages"] == 0
    again: dict[str, Any] = {"watched": 60.0, "longest_silence_after": 7.0}
    assert figures_of("failover", [gap("death", 6.0, forced=None, **again)])["second_outages"] == 1
    stock = figures_of("failover", [gap("death", 21.0, takeover=False, forced=None)] * 3)
    assert stock["stock_gap_p50"] == 21.0
    assert "stock_gap_p99" not in stock, "three samples have none"


def test_roaming_has_the_benchs_names_and_says_nothing_of_what_was_not_watched() -> None:
    found = figures_of("roaming", [gap("roaming", 0.1), gap("roaming", 0.3)])
    assert found["roaming_takeover_max"] == 0.3
    assert "second_outages" not in found


def test_drain_has_the_benchs_names_and_no_others() -> None:
    samples = [
        {"kind": "drain", "moved": True, "longest_gap": 0.3, "lost": 2, "sent": 99, "seconds": 14.0}
    ]
    found = figures_of("drain", samples)
    assert (found["longest_gap"], found["packets_lost_per_client_max"]) == (0.3, 2)
    assert "others_lost" not in found, "everybody was on that gateway"


def test_a_client_sends_the_target_alone_into_the_tunnel() -> None:
    identity = Identity.new()
    peer = Peer("live-check-0", identity.public_text, IPv4Address("100.96.0.9"))
    client = LiveClient(peer, identity, "gp-live-0", 20001, "203.0.113.10:51820")
    text = settings(client, "SERVER", IPv4Address("10.40.1.2"))
    assert "ListenPort = 20001\n" in text
    assert "AllowedIPs = 10.40.1.2/32\nEndpoint = 203.0.113.10:51820\n" in text
    assert client.interface == "live-0", "at most fifteen characters"
