"""The pages name commands that are there, with arguments that they take."""

from __future__ import annotations

import re
import shlex

import pytest

import plan
from pipeline import bootstrap, command, rotate

PARSERS = {"bootstrap": bootstrap.parse, "pipeline": command.parse, "rotate": rotate.parse}
PAGES = [plan.ROOT / "README.md", *sorted((plan.ROOT / "docs").rglob("*.md"))]
CALL = re.compile(
    r"^ *scripts/(bootstrap|pipeline|rotate) ([^#\n|]+)|`scripts/(bootstrap|pipeline|rotate)\s([^`]+)`",
    re.MULTILINE,
)


def calls() -> list[tuple[str, str]]:
    found = [match for page in PAGES for match in CALL.finditer(page.read_text())]
    return [(one[1] or one[3], " ".join((one[2] or one[4]).split())) for one in found]


@pytest.mark.parametrize(("script", "words"), calls())
def test_a_command_in_the_docs_takes_its_arguments(script: str, words: str) -> None:
    argv = shlex.split(words.replace("DIGEST", "0"))
    if len(argv) == 1 or {"preview", "begin"} & set(argv) and len(argv) < 3:  # noqa: PLR2004
        return  # named only
    if words in ("begin | end", "--plan", "preview --refresh"):
        return  # named only
    assert PARSERS[script](argv).function


def test_the_pages_name_each_of_them() -> None:
    assert {script for script, _ in calls()} == set(PARSERS)
