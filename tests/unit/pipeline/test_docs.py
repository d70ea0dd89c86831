"""The pages name commands that are there, with arguments that they take."""

from __future__ import annotations

import re
import shlex

import pytest

import plan
from pipeline import bootstrap, command, rotate

PARSERS = {"bootstrap": bootstrap.parse, "pipeline": command.parse, "rotate": rotate.parse}
PAGES = [plan.ROOT / "README.md", *sorted((plan.ROOT / "docs").rglob("*.md"))]
NAMES = "(" + "|".join(PARSERS) + ")"
CALL = re.compile(rf"^ *scripts/{NAMES} ([^#\n|]+)|`scripts/{NAMES}\s([^`]+)`", re.MULTILINE)
NAMED = {"--plan", "begin", "comment", "end", "preview", "preview --refresh"}
"""Said in passing, not to be typed so."""


def calls() -> list[tuple[str, str]]:
    """Every call on any page: the script, and its arguments on one line."""
    found = [match for page in PAGES for match in CALL.finditer(page.read_text())]
    return [(one[1] or one[3], " ".join((one[2] or one[4]).split())) for one in found]


@pytest.mark.parametrize(("script", "words"), [one for one in calls() if one[1] not in NAMED])
def test_a_command_in_the_docs_takes_its_arguments(script: str, words: str) -> None:
    assert PARSERS[script](shlex.split(words)).function


def test_the_pages_name_each_of_them() -> None:
    assert {script for script, words in calls() if words not in NAMED} == set(PARSERS)
