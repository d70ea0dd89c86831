"""What is made of the times at which probes were sent and answered."""

from __future__ import annotations

import pytest

from bench.echoes import Echoes


def echoes(sent: list[float], answered: dict[int, float]) -> Echoes:
    made = Echoes()
    for number, at in enumerate(sent):
        made.send(number, at)
    for number, at in sorted(answered.items(), key=lambda pair: pair[1]):
        made.hear(number, at)
    return made


def test_a_probe_that_was_never_answered_is_lost() -> None:
    assert echoes([0, 1, 2, 3], {0: 0.1, 2: 2.1}).lost(0, 4) == [1, 3]


def test_only_probes_of_the_time_that_is_asked_about_can_be_lost() -> None:
    assert echoes([0, 1, 2, 3], {}).lost(1, 3) == [1, 2]


def test_the_last_answer_before_a_moment_and_of_all() -> None:
    made = echoes([0, 1, 2], {0: 0.5, 1: 1.5, 2: 2.5})
    assert (made.last(1.5), made.last(0.4), made.last()) == (1.5, None, 2.5)


def test_the_first_answer_after_a_moment() -> None:
    made = echoes([0, 1, 2], {0: 0.5, 1: 1.5})
    assert (made.first(0.5), made.first(0), made.first(1.5)) == (1.5, 0.5, None)


def test_a_late_answer_to_an_old_probe_is_not_a_fresh_one() -> None:
    made = echoes([0, 1, 5], {0: 4.5, 2: 5.2})
    assert made.first(4) == 4.5
    assert made.first_fresh(4) == 5.2
    assert made.first_fresh(5) is None


def test_silence_is_counted_from_the_begin_and_to_the_end() -> None:
    made = echoes([0, 1, 2, 3], {0: 0, 1: 1, 2: 4, 3: 4.5})
    assert made.longest_silence(0, 5) == 3
    assert made.longest_silence(0, 20) == 15.5
    assert made.longest_silence(0.5, 1) == 0.5
    assert echoes([], {}).longest_silence(2, 5) == 3


def test_a_second_answer_of_the_same_probe_says_nothing() -> None:
    made = echoes([0, 1], {0: 0.1})
    made.hear(0, 9.0)
    assert made.heard == [0.1]
    assert made.answered == {0: 0.1}


def test_a_gap_in_the_record_is_refused() -> None:
    made = echoes([0], {})
    with pytest.raises(ValueError, match="probe 2 after 1"):
        made.send(2, 1.0)
