"""The age of what is served: over restarts, reboots and clocks that step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.last_answer import KEEP_EVERY, LastAnswer

if TYPE_CHECKING:
    from pathlib import Path


class Machine:
    """Both clocks of a machine, and the moment it keeps."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.monotonic = path, 5000.0, 50.0
        self.restart()

    def restart(self) -> None:
        self.answer = LastAnswer(self.path, lambda: self.now, lambda: self.monotonic)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds

    @property
    def age(self) -> float | None:
        """As the agent that starts now would count it."""
        at = self.answer.recall()
        return None if at is None else self.monotonic - at


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "last-answer")


def test_who_was_never_answered_has_no_age(machine: Machine) -> None:
    machine.answer.keep()
    assert not machine.path.exists()
    assert machine.age is None


def test_the_age_goes_on_over_a_restart(machine: Machine) -> None:
    machine.answer.note(machine.monotonic)
    machine.pass_by(30)
    machine.restart()
    assert machine.age == 30
    assert machine.path.stat().st_mode & 0o777 == 0o600


def test_the_age_goes_on_over_a_reboot_which_starts_the_monotonic_clock_anew(
    machine: Machine,
) -> None:
    machine.answer.note(machine.monotonic)
    machine.now, machine.monotonic = machine.now + 3600, 2.0
    machine.restart()
    assert machine.answer.recall() == 2.0 - 3600
    assert machine.age == 3600


def test_an_answer_counts_from_when_it_came_not_from_when_it_was_written(machine: Machine) -> None:
    came = machine.monotonic
    machine.pass_by(7)
    machine.answer.note(came)
    machine.restart()
    assert machine.age == 7


def test_it_is_written_once_a_minute_and_at_the_end(machine: Machine) -> None:
    written = set()
    for _ in range(int(KEEP_EVERY) - 1):
        machine.answer.note(machine.monotonic)
        written.add(machine.path.read_text())
        machine.pass_by(1)
    assert len(written) == 1
    machine.answer.keep()
    written.add(machine.path.read_text())
    assert len(written) == 2
    machine.restart()
    assert machine.age == 1, "nothing is lost by an orderly end"
    machine.answer.note(machine.monotonic)
    for _ in range(int(KEEP_EVERY)):
        machine.pass_by(1)
        machine.answer.note(machine.monotonic)
    machine.restart()
    assert machine.age == 0


def test_after_a_crash_the_age_is_too_high_by_a_minute_at_most_and_never_too_low(
    machine: Machine,
) -> None:
    for _ in range(100):
        machine.answer.note(machine.monotonic)
        machine.pass_by(1)
        true, again = 1, LastAnswer(machine.path, lambda: machine.now, lambda: machine.monotonic)
        at = again.recall()
        assert at is not None
        assert true <= machine.monotonic - at <= true + KEEP_EVERY


def test_an_end_without_an_answer_leaves_the_older_one(machine: Machine) -> None:
    machine.answer.note(machine.monotonic)
    for _ in range(3):
        machine.pass_by(100)
        machine.restart()
        machine.answer.keep()
    assert machine.age == 300


def test_a_moment_to_come_is_now_and_no_age_is_negative(machine: Machine) -> None:
    machine.answer.note(machine.monotonic)
    machine.now -= 400
    machine.restart()
    assert machine.age == 0


@pytest.mark.parametrize("text", ["", "soon", "\x00", "nan", "inf", "-inf"])
def test_a_damaged_file_is_no_age(machine: Machine, text: str) -> None:
    machine.path.write_text(text)
    assert machine.age is None


def test_a_disk_that_takes_nothing_ends_nobodys_service(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.path.mkdir()
    machine.answer.note(machine.monotonic)
    machine.answer.note(machine.monotonic + 1)
    assert len(caplog.records) == 1, "not tried, or said, each second"
