"""What a client noticed of an event, from its probes alone."""

from __future__ import annotations

import pytest

from bench.echoes import Echoes
from bench.outages import Outage, aftermath, outage


def echoes(answers: dict[float, float | None]) -> Echoes:
    """When each probe was sent -> when it was answered."""
    made = Echoes()
    for number, at in enumerate(answers):
        made.send(number, at)
    heard = [(at, number) for number, at in enumerate(answers.values()) if at is not None]
    for at, number in sorted(heard):
        made.hear(number, at)
    return made


def test_a_gap_is_from_the_last_answer_before_to_the_first_one_to_what_was_sent_after() -> None:
    made = echoes({0.8: 0.81, 0.9: 0.91, 1.0: None, 1.1: None, 1.2: None, 1.3: 1.33, 1.4: 1.41})
    found = outage(made, 0.95, 5.0)
    assert found == Outage(0.91, 1.33, 5.0)
    assert found.gap == pytest.approx(0.42)


def test_an_answer_that_was_under_way_at_the_event_is_not_the_end_of_the_outage() -> None:
    made = echoes({0.9: 0.97, 1.0: None, 1.1: 1.12})
    found = outage(made, 0.95, 5.0)
    assert found is not None
    assert (found.last, found.resumed) == (0.97, 1.12)


def test_who_has_not_resumed_is_silent_up_to_now() -> None:
    found = outage(echoes({0.9: 0.91, 1.0: None}), 0.95, 5.0)
    assert found is not None
    assert found.resumed is None
    assert found.gap == pytest.approx(4.09)


def test_who_was_silent_before_the_event_says_nothing_about_it() -> None:
    assert outage(echoes({0.1: 0.11, 0.9: None, 1.0: 1.01}), 0.95, 5.0) is None


def test_a_second_silence_counts_while_it_is_watched_and_for_a_minute_at_most() -> None:
    made = echoes({1.0: 1.0, 2.0: 2.0, 4.5: 4.5, 5.0: 5.0})
    seen = aftermath(made, 1.0, 5.0)
    assert (seen.watched, seen.longest_silence) == (4.0, 2.5)
    assert aftermath(made, 1.0, 4.0).longest_silence == 2.0, "up to the end"
    late = aftermath(made, 1.0, 100.0)
    assert (late.watched, late.longest_silence) == (60.0, 56.0)
