"""What is said of a connection by what both its ends noted."""

from __future__ import annotations

import pytest

from bench.courses import CLOSED, HEARD, RESET, WRONG, Course, judge, longest


def ticks(begin: float, end: float, every: float = 0.25) -> list[float]:
    return [begin + every * n for n in range(round((end - begin) / every))]


def both(near: list[float], far: list[float]) -> Course:
    return Course(both_ways=True, near=near, far=far)


def test_a_connection_that_goes_on_is_not_broken_and_stalled_as_long_as_nothing_came() -> None:
    times = [*ticks(0, 10), *ticks(22, 40)]
    found = judge(both(times, times), 10, 38)
    assert found is not None
    assert (found.broken, found.stall) == ("", 12.25)


def test_a_stall_is_that_of_the_worse_direction() -> None:
    steady = ticks(0, 40)
    for near, far in ((steady, [*ticks(0, 10), *ticks(15, 40)]), ([*ticks(0, 10), 15.0], steady)):
        found = judge(both(near, far), 9, 16)
        assert found is not None
        assert found.stall == 5.25


def test_of_a_download_only_the_clients_end_hears() -> None:
    found = judge(Course(both_ways=False, near=ticks(0, 40)), 10, 30)
    assert found is not None
    assert (found.broken, found.stall) == ("", 0.25)


def test_a_stall_counts_from_the_last_thing_before_the_event() -> None:
    assert longest([1, 2, 5, 6], 4, 6) == 3
    assert longest([1, 2, 5, 6], 5, 6) == 1
    assert longest([1, 2, 5], 4, 9) == 4, "and up to the end of the time that is looked at"
    assert longest([1, 9], 2, 5) == 4, "what came later does not shorten it"


@pytest.mark.parametrize("far", [True, False])
def test_a_reset_that_either_end_saw_breaks_a_connection(*, far: bool) -> None:
    course = both(ticks(0, 10), ticks(0, 10))
    course.note(RESET, 14.0, far=far)
    course.note(CLOSED, 15.0, far=not far)
    found = judge(course, 9, 50)
    assert found is not None
    assert (found.broken, found.stall) == ("reset", 4.25), "until then, and not until 50"


def test_the_first_end_counts_also_when_it_is_told_later() -> None:
    course = both([], [])
    course.note(CLOSED, 15.0, far=False)
    course.note(WRONG, 14.0, far=True)
    assert course.ended == (14.0, "wrong bytes")


def test_an_end_after_the_time_that_is_looked_at_is_anothers() -> None:
    course = both(ticks(0, 40), ticks(0, 40))
    course.note(RESET, 40.0, far=False)
    found = judge(course, 10, 30)
    assert found is not None
    assert found.broken == ""


def test_silence_of_more_than_thirty_seconds_is_broken_even_if_it_goes_on_then() -> None:
    course = both([*ticks(0, 10), *ticks(41, 50)], ticks(0, 50))
    found = judge(course, 10, 45)
    assert found is not None
    assert (found.broken, found.stall) == ("silent", 31.25)
    course = both([*ticks(0, 10), *ticks(39.75, 50)], ticks(0, 50))
    found = judge(course, 10, 45)
    assert found is not None
    assert (found.broken, found.stall) == ("", 30.0)


def test_a_connection_that_was_not_at_work_before_says_nothing() -> None:
    assert judge(both(ticks(0, 8), ticks(0, 20)), 10, 20) is None
    assert judge(both([], []), 10, 20) is None
    course = both(ticks(0, 20), ticks(0, 20))
    course.note(RESET, 9.9, far=True)
    assert judge(course, 10, 20) is None


def test_what_arrives_is_of_the_end_that_noted_it() -> None:
    course = both([], [])
    course.note(HEARD, 1.0, far=True)
    course.note(HEARD, 2.0, far=False)
    assert (course.near, course.far) == ([2.0], [1.0])


def test_waiting_is_over_when_it_talks_has_ended_or_is_silent_for_good() -> None:
    course = both(ticks(0, 10), ticks(0, 10))
    assert course.decided(10)
    assert not course.decided(20)
    assert not course.decided(39.75)
    assert course.decided(39.8)
    course.note(RESET, 15.0, far=False)
    assert not course.decided(14.9)
    assert course.decided(20)
    assert not course.talks(15.0)
