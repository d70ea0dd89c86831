"""What clients saw of a fault, and what counts as a broken promise."""

from __future__ import annotations

import json

import pytest

from bench.echoes import Echoes
from bench.outcomes import (
    Check,
    Health,
    Outcome,
    Promise,
    Seen,
    broken,
    from_json,
    left,
    redundant_after,
    resumed,
    seen,
)

A, B, C = "i-a", "i-b", "i-c"


def history(*states: tuple[float, str]) -> list[Health]:
    """At each moment the healthy gateways, by the last letters of their ids."""
    return [Health(at, frozenset(f"i-{one}" for one in letters)) for at, letters in states]


KILLED = history((0, "ab"), (10, "b"), (60, "bc"))


def test_the_load_balancer_lets_go_at_the_first_look_without_the_gateway() -> None:
    assert left(KILLED, A, 1) == 10
    assert left(KILLED, B, 1) is None
    assert left(history((0, "b"), (5, "ab")), A, 1) is None, "that was before"
    assert left(history((0, "b"), (5, "ab"), (9, "b")), A, 1) == 9


@pytest.mark.parametrize(
    ("known", "after"),
    [
        (KILLED, 59),
        (history((0, "ab")), 0),
        (history((0, "ab"), (10, "b")), None),
        (history((0, "ab"), (10, "b"), (12, "bc"), (20, "c"), (30, "bc")), 29),
        (history((0, "ab"), (10, "abc"), (12, "bc")), 0),
        (history((-9, "b"), (0, "ab")), 0),
        ([], None),
    ],
)
def test_redundancy_is_back_when_two_are_healthy_for_the_last_time(
    known: list[Health], after: float | None
) -> None:
    assert redundant_after(known, 1) == after


def client(*answered: int, count: int = 10) -> Echoes:
    """One ping a second, from second 0 on; those that were answered were so after 0.1 s."""
    made = Echoes()
    for number in range(count):
        made.send(number, float(number))
        if number in answered:
            made.hear(number, number + 0.1)
    return made


def test_the_worst_client_and_all_lost_pings_are_what_clients_saw() -> None:
    fine, other = client(*range(10)), client(0, 1, 2, 7, 8, 9)
    found = seen([fine, other], 1, 9)
    assert found is not None
    assert (found.clients, found.lost, found.sent) == (2, 4, 16)
    assert found.silence == pytest.approx(5)
    assert seen([], 1, 9) is None


def test_a_client_goes_on_with_the_answer_to_a_ping_that_was_sent_after_the_move() -> None:
    late = client(0, 6)
    late.hear(3, 5.9)  # sent before
    assert resumed([late, client(*range(10))], 4.5) == pytest.approx(1.6)
    assert resumed([late, client(0)], 4.5) is None
    assert resumed([], 4.5) is None


def outcome(**more: object) -> Outcome:
    fine = {"there": Seen(3, 10.4, 200, 900), "others": Seen(3, 0.06, 0, 900), "resumed": 0.2}
    return Outcome(name="killed", detection=10.2, back=55.0, **{**fine, **more})  # ty: ignore[invalid-argument-type]


def test_what_is_promised_and_so_is_not_broken() -> None:
    assert broken(Promise(resumed=0.5, silence=11, back=60), outcome()) == []
    assert broken(Promise(others_lost=None), outcome(others=Seen(3, 1, 9, 9))) == []
    assert broken(Promise(lost=0), outcome(there=Seen(3, 0.1, 0, 900))) == []


@pytest.mark.parametrize(
    ("promise", "found", "words"),
    [
        (Promise(resumed=0.5), {"resumed": 0.51}, "not answered again for 0.51 s"),
        (Promise(resumed=0.5), {"resumed": None}, "not answered again for any time"),
        (Promise(silence=10), {}, "silent for 10.40 s"),
        (Promise(silence=1), {"others": Seen(3, 20, 0, 9), "there": None}, "silent for 20.00"),
        (Promise(lost=0), {}, "200 of 900 pings lost there"),
        (Promise(), {"others": Seen(3, 1, 1, 900)}, "1 of 900 pings lost elsewhere"),
        (Promise(back=54), {}, "two gateways serve only after 55.00"),
        (Promise(), {"lost_after": 1}, "1 pings lost after it had ended"),
        (Promise(), {"checks": (Check("x", so=True), Check("y", so=False))}, "not so: y"),
        (Promise(), {"error": "no lab"}, "no lab"),
    ],
)
def test_a_broken_promise_says_what_was_not_so(
    promise: Promise, found: dict[str, object], words: str
) -> None:
    (text,) = broken(promise, outcome(**found))
    assert words in text


def test_a_sample_is_the_whole_outcome() -> None:
    one = outcome(checks=(Check("x", so=False),), lost_after=2)
    assert from_json(json.loads(json.dumps(one.as_json()))) == one
    assert from_json({**outcome(there=None).as_json(), "broken": ["x"]}).there is None


def test_a_promise_is_told_in_words() -> None:
    assert Promise(lost=0).words() == "nothing is lost"
    text = Promise(resumed=0.5, back=60).words()
    assert "answered within 0.5 s of the move" in text
    assert "the others lose nothing" in text
    assert "two serve after at most 60 s" in text
    assert "others" not in Promise(silence=1, others_lost=None).words()
