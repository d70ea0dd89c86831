"""What the drain bench makes of what it has seen."""

from __future__ import annotations

from typing import Any

import pytest

from bench import drain
from bench.answers import handshakes
from bench.command import NotMeasured
from bench.crowd import felt
from bench.echoes import Echoes


def sample(kind: str, gap: float, lost: int = 0, *, moved: bool = True) -> dict[str, Any]:
    return {"kind": kind, "longest_gap": gap, "lost": lost, "moved": moved, "seconds": 15.0}


def test_only_clients_whose_gateway_went_count() -> None:
    found = drain.figures_of([sample("drain", 0.3, 2), sample("drain", 0.1, 1, moved=False)])
    assert (found["longest_gap"], found["gap_p50"]) == (0.3, 0.3)
    assert found["packets_lost_per_client_max"] == 2
    assert found["others_lost"] == 1


def test_a_hundred_moves_have_a_p99_and_fewer_have_none() -> None:
    many = [sample("drain", 0.1, number) for number in range(100)]
    assert drain.figures_of(many)["packets_lost_per_client_p99"] == 98
    assert "packets_lost_per_client_p99" not in drain.figures_of(many[1:])


def test_each_thing_that_is_done_to_gateways_has_figures_of_its_own() -> None:
    found = drain.figures_of(
        [sample("drain", 0.3), sample("replace", 0.4, 3), sample("stock", 15.2, 151)]
    )
    assert found["longest_gap"] == 0.3
    assert (found["replace_longest_gap"], found["stock_longest_gap"]) == (0.4, 15.2)
    assert found["stock_packets_lost_per_client_max"] == 151
    assert not any(name.startswith("terminated") for name in found), "nothing was terminated"


def test_a_session_is_where_the_newest_handshake_is_on_either_interface() -> None:
    assert handshakes("wg0\tA\t5\nwg1\tA\t3\nwg0\tB\t0\n") == {"A": 5, "B": 0}
    assert handshakes("") == {}


def test_the_gateway_with_most_clients_is_the_one_to_drain() -> None:
    assert drain.most({"a": "i-1", "b": "i-2", "c": "i-2"}) == "i-2"
    assert drain.most({"a": "i-2", "b": "i-1"}) == "i-1", "always the same of equals"


def test_what_a_client_felt_is_of_that_time_only() -> None:
    echoes = Echoes()
    for number in range(20):
        echoes.send(number, number / 10)
        if number not in (1, 2, 3, 4, 10, 11):
            echoes.hear(number, number / 10 + 0.01)
    told = felt(echoes, 0.55, 2.0)
    assert (told["sent"], told["lost"]) == (14, 2)
    assert told["longest_gap"] == pytest.approx(0.3)


class Stage(drain.Scene):
    """Stands in for the scene: says what it is told, and that all is well."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.say = self.said.append
        self.recovered = 0

    def recover(self) -> None:
        self.recovered += 1


def test_a_bad_round_is_said_and_done_again() -> None:
    stage, results = Stage(), [NotMeasured("no"), [{"kind": "drain"}], [{"kind": "drain"}]]

    def once() -> Any:
        one = results.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    found = drain.rounds(stage, 2, once)
    assert found == [{"kind": "void", "why": "no"}, {"kind": "drain"}, {"kind": "drain"}]
    assert stage.said == ["void: no"]
    assert stage.recovered == 1


def test_it_gives_up_when_too_many_rounds_are_bad() -> None:
    stage = Stage()

    def once() -> Any:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        drain.rounds(stage, 1, once)
    assert len(stage.said) == drain.VOID_ROUNDS
