"""Throughput: what iperf3 says, what a round makes of it, and how sure its median is."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest

from bench import bare, pump, throughput
from bench.command import NotMeasured
from bench.report import TooFew, median_low
from effects import Refusal
from lab import edge, flows, kinds

ONE, OTHER = throughput.BARES.values()


# ------------------------------------------------------------------ the pump


def said(**end: Any) -> str:
    return json.dumps({"end": end})


def test_what_arrived_counts_and_not_what_was_sent() -> None:
    text = said(sum_sent={"bits_per_second": 9e8}, sum_received={"bits_per_second": 8e8})
    assert pump.rate(text) == 8e8


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "another form"),
        ("[]", "another form"),
        ("{}", "another form"),
        (said(), "another form"),
        (said(sum_received={"bits_per_second": None}), "another form"),
        (said(sum_received={"bits_per_second": 0.0}), "nothing arrived"),
        ('{"error": "it was cut off", "end": {}}', "it was cut off"),
        (
            '{"error": "it was cut off", "end": {"sum_received": {"bits_per_second": 5}}}',
            "it was cut off",
        ),
    ],
)
def test_a_connection_that_failed_is_no_speed(text: str, why: str) -> None:
    with pytest.raises(NotMeasured, match=why):
        pump.rate(text)


def test_without_iperf3_it_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refusal, match="scripts/install"):
        pump.preflight()


# ------------------------------------------------------------------ the bare one


def test_no_two_bare_ones_share_a_name_or_an_address() -> None:
    for name in ("name", "namespace", "client", "endpoint"):
        assert getattr(ONE, name) != getattr(OTHER, name)
    vpc = IPv4Network("10.20.0.0/16")
    addresses = {bare.client_address(vpc, one.number) for one in (ONE, OTHER)}
    assert len(addresses) == 2
    assert all(one in vpc and one != vpc.broadcast_address for one in addresses)


def test_names_fit_what_linux_and_the_lab_allow() -> None:
    assert edge.client_name(ONE.client) == ONE.client
    assert len(f"h-{ONE.name}") <= 15


def test_its_endpoint_leads_to_the_load_balancer_and_on_to_it() -> None:
    assert ONE.endpoint in edge.ELASTIC_ADDRESSES
    text = bare.forwarding(ONE, IPv4Address("10.20.0.140"), 51820)
    assert f"ip daddr {ONE.endpoint} udp dport 51820 dnat to 10.20.0.140:51820" in text
    assert f"table ip {flows.TABLE} " not in text, "the lab's own rules are not touched"


def test_its_interface_knows_one_peer_and_that_one_address() -> None:
    text = bare.interface(51820, "SERVER", "CLIENT", IPv4Address("10.20.255.253"))
    assert text.splitlines() == [
        "[Interface]",
        "PrivateKey = SERVER",
        "ListenPort = 51820",
        "[Peer]",
        "PublicKey = CLIENT",
        "AllowedIPs = 10.20.255.253/32",
    ]


def test_a_lab_with_machines_of_its_own_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "present", lambda: kinds.CONTAINER)
    bare.preflight()
    monkeypatch.setattr(kinds, "present", lambda: kinds.KERNEL)
    with pytest.raises(Refusal, match="kernel of their own"):
        bare.preflight()


# ------------------------------------------------------------------ rounds


def sample(
    up: float = 1.0, down: float = 1.0, control: float = 1.0, narrow: float = 1.0
) -> dict[str, Any]:
    speeds = {
        "narrow_up": 200e6 * narrow,
        "narrow_down": 100e6 * narrow,
        "gateway_up": 200e6 * up,
        "gateway_down": 100e6 * down,
        "bare_up": 200e6,
        "bare_down": 100e6,
        "control_up": 200e6 * control,
        "control_down": 100e6 * control,
    }
    return {**speeds, **throughput.ratios(speeds)}


def test_both_directions_weigh_the_same() -> None:
    found = sample(up=0.5, down=2.0, control=0.9, narrow=0.7)
    assert found["narrow_ratio"] == pytest.approx(0.7)
    assert found["ratio"] == pytest.approx(1.0)
    assert found["control_ratio"] == pytest.approx(0.9)
    assert sample(up=0.81)["ratio"] == pytest.approx(0.9)


class Played:
    """A pump that plays what it is given, and notes what it was asked."""

    def __init__(self, *answers: float | str) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, str]]()

    def __call__(self, namespace: str, _target: object, direction: str, seconds: int) -> float:
        assert seconds == 2
        self.asked.append((namespace, direction))
        answer = self.answers.pop(0) if self.answers else 1e8
        if isinstance(answer, str):
            raise NotMeasured(answer)
        return answer


GROUND: Any = SimpleNamespace(host=IPv4Address("10.20.32.10"), say=lambda _: None)
AT = {path: f"gp-{path}" for path in throughput.PATHS}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    made = Played()
    monkeypatch.setattr(pump, "pump", made)
    return made


def test_over_any_eight_rounds_every_path_has_every_place_equally_often(played: Played) -> None:
    found = throughput.rounds(GROUND, AT, range(8, 16), 2)
    assert all(one["ratio"] == 1 for one in found)
    by_round = [played.asked[start : start + 8] for start in range(0, 64, 8)]
    for asked in by_round:
        assert len(set(asked)) == 8, "each path in each direction once"
    for place in range(4):
        there = [asked[place][0] for asked in by_round]
        assert sorted(there) == sorted(list(AT.values()) * 2)
    assert [asked[0][1] for asked in by_round] == ["up", "down"] * 4


def test_every_eight_rounds_the_paths_are_set_up_anew_at_the_next_gateway(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []

    def places(_ground: object, _gateways: object, gateway: str, _kernel: bool) -> dict[str, str]:
        made.append((gateway, len(played.asked)))
        return {path: f"{gateway}-{path}" for path in throughput.PATHS}

    monkeypatch.setattr(throughput, "places", places)
    undone: list[object] = []
    ground: Any = SimpleNamespace(
        **vars(GROUND),
        stack=None,
        gateways=lambda: {"i-1": 1, "i-2": 2},
        undo=lambda _call, what, *_: undone.append(what),
    )
    found = throughput.set_ups(ground, 18, 2, kernel=False)
    assert [one["round"] for one in found] == list(range(18))
    assert made == [("i-1", 0), ("i-2", 8 * 8), ("i-1", 16 * 8)]
    assert {name[:3] for name, _ in played.asked[64:128]} == {"i-2"}
    assert undone == [None, None, ONE, OTHER], "once, however often they were set up"


def test_a_round_that_fails_is_void_and_the_next_one_counts(played: Played) -> None:
    played.answers += [1e8, "stalled"]
    found = throughput.rounds(GROUND, AT, range(2), 2)
    assert found[0]["void"] == "stalled"
    assert "void" not in found[1]
    assert throughput.figures_of(found)["void_rounds"] == 1


def test_when_nothing_works_it_ends_and_says_why(played: Played) -> None:
    played.answers += ["no route"] * 9
    with pytest.raises(NotMeasured, match="no route"):
        throughput.rounds(GROUND, AT, range(9), 2)
    assert len(played.asked) == throughput.ALL_VOID


# ------------------------------------------------------------------ figures


def test_the_figures_have_the_names_of_the_design() -> None:
    samples = [
        sample(up=0.9 + n / 100, down=0.9 + n / 100, control=1.02, narrow=0.8) for n in range(11)
    ]
    figures = throughput.figures_of(samples)
    assert figures["ratio_median"] == pytest.approx(0.95)
    assert figures["control_ratio_median"] == pytest.approx(1.02)
    assert figures["ratio_over_control"] == pytest.approx(0.95 / 1.02)
    assert figures["narrow_ratio_median"] == pytest.approx(0.8)
    assert figures["ratio_low95"] == pytest.approx(0.92), "the third of eleven"
    assert figures["bare_up_mbit_per_second_p50"] == pytest.approx(200)
    assert figures["gateway_down_mbit_per_second_p50"] == pytest.approx(95)
    assert figures["void_rounds"] == 0


def test_directions_are_told_apart() -> None:
    figures = throughput.figures_of([sample(up=0.8, down=1.1)])
    assert figures["up_ratio_median"] == pytest.approx(0.8)
    assert figures["down_ratio_median"] == pytest.approx(1.1)


def test_a_bound_of_too_few_rounds_is_left_out() -> None:
    assert "ratio_low95" not in throughput.figures_of([sample()] * 4)
    assert "ratio_low95" in throughput.figures_of([sample()] * 5)


def test_void_rounds_alone_are_no_measurement() -> None:
    with pytest.raises(NotMeasured):
        throughput.figures_of([{"round": 0, "void": "x"}])


# From any table of the binomial distribution for one half: P(X < k) <= 5 %
@pytest.mark.parametrize(("count", "rank"), [(5, 1), (7, 1), (8, 2), (10, 2), (20, 6), (100, 42)])
def test_the_bound_is_the_sample_of_the_sign_tests_rank(count: int, rank: int) -> None:
    assert median_low([float(n) for n in range(count, 0, -1)]) == rank


@pytest.mark.parametrize("count", [0, 1, 4])
def test_of_too_few_samples_there_is_no_bound(count: int) -> None:
    with pytest.raises(TooFew):
        median_low([1.0] * count)


def test_more_certainty_takes_a_lower_sample() -> None:
    assert median_low(map(float, range(1, 21)), 0.01) == 5
