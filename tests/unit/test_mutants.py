"""The lists of mutants fit the code, so that `make mutants` breaks what it says it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mutants

if TYPE_CHECKING:
    from pathlib import Path

LIST = """
tests = ["tests/a"]
[[mutant]]
what = "one"
file = "code.py"
find = "here"
put = "there"
[[mutant]]
what = "two"
file = "gone.py"
find = "x"
put = "y"
tests = ["tests/b"]
"""


def test_every_mutant_finds_its_place() -> None:
    listed = mutants.read()
    assert listed
    assert mutants.stale(listed) == []


def test_every_mutant_changes_something_that_its_tests_cover() -> None:
    for mutant in mutants.read():
        assert mutant.find != mutant.put, mutant
        for path in mutant.tests:
            assert (mutants.ROOT / path).exists(), mutant


def test_a_mutants_own_tests_come_before_its_lists(tmp_path: Path) -> None:
    (tmp_path / "room.toml").write_text(LIST)
    one, two = mutants.read(tmp_path)
    assert (str(one), one.tests) == ("room: one", ("tests/a",))
    assert (str(two), two.tests) == ("room: two", ("tests/b",))


def test_a_mutant_whose_place_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "room.toml").write_text(LIST)
    (tmp_path / "code.py").write_text("it is here\n")
    (gone,) = mutants.stale(mutants.read(tmp_path), tmp_path)
    assert gone == "room: two: gone.py does not hold 'x'"
