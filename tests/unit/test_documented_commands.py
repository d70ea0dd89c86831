"""Every command in the docs is run by a test, or listed as one that cannot be; and it is real."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from functools import cache
from typing import TYPE_CHECKING

import botocore.session
import documented
import pytest
from botocore import xform_name
from documented import (
    ELSEWHERE,
    IN_THE_LAB,
    PAGES,
    ROOT,
    blocks,
    commands_in,
    fenced,
    in_the_lab,
    inline,
    not_run,
)

from client import gatepair_helper
from commands import gateways, keys, live_check, peers
from lab import cli as lab
from pipeline import bootstrap, rotate
from pipeline import command as pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "scripts/bootstrap": bootstrap.parse,
    "scripts/gateways": gateways.parse,
    "scripts/keys": keys.parse,
    "scripts/lab": lambda words: lab._parser().parse_args(words),
    "scripts/live-check": live_check.parse,
    "scripts/peers": peers.parse,
    "scripts/pipeline": pipeline.parse,
    "scripts/rotate": rotate.parse,
    "gatepair-helper": gatepair_helper.parse,
}
PARTS_OF_INSTALL = {"python", "system", "prometheus", "kernel"}
KINDS = {"sh", "bash", "yaml", "json", "ini", "xml", "text"}
AWS_OPTIONS = {"--query", "--output", "--filters", "--region"}
"""Of the AWS CLI itself, and `--filters`, which is `Filters` of most operations."""
AWS_OWN = {("configure", "export-credentials"), ("dynamodb", "wait")}
"""Commands that the AWS CLI has of its own, beside AWS's operations."""

FENCED, INLINE, LISTED = fenced(), inline(), not_run()
NEEDS = re.compile(r"required|is missing|expected one argument|expected at least one argument")
"""What a parser says when something is left out, which a sentence may."""


def words_of(command: str) -> list[str]:
    words = shlex.split(command)
    while words[0] in {"sudo", "-E"}:
        words = words[1:]
    return words[: words.index("|")] if "|" in words else words


@cache
def source_of(program: str) -> str:
    """Of a program without a function that parses: it names every option."""
    return (ROOT / program).read_text() + (ROOT / "bench/command.py").read_text()


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def options_of(operation: str, service: str) -> set[str]:
    """As the AWS CLI spells them."""
    model = botocore.session.Session().get_service_model(service)
    for name in model.operation_names:
        if xform_name(name, "-") == operation:
            shape = model.operation_model(name).input_shape
            members = shape.members if shape is not None else {}
            spelt = {f"--{xform_name(member, '-')}" for member in members}
            flags = {f"--no-{one.removeprefix('--')}" for one in spelt}
            return spelt | flags | AWS_OPTIONS
    raise AssertionError(f"aws {service} has no {operation}")


def fault(command: str, *, whole: bool) -> str:
    """Why the command is not one, in words; "" if it is. A part of one may leave things out."""
    program, *rest = words_of(command)
    named = {word for word in rest if word.startswith("--")}
    if program == "make":
        why = "" if set(rest) <= targets() else "no such target"
    elif program == "aws":
        own = tuple(rest[:2]) in AWS_OWN
        unknown = set() if own else named - options_of(rest[1], rest[0])
        why = f"unknown: {', '.join(sorted(unknown))}" if unknown else ""
    elif program == "scripts/install":
        why = "" if set(rest) <= PARTS_OF_INSTALL else "no such part"
    elif program in PARSERS:
        why = complaint(PARSERS[program], rest)
        why = "" if not whole and NEEDS.search(why) else why
    elif not program.startswith(("scripts/", "bench/")):
        why = ""  # a program of the machine's
    elif not (ROOT / program).exists():
        why = "no such program"
    else:
        absent = {one for one in named if f'"{one}"' not in source_of(program)}
        why = f"no {', '.join(sorted(absent))}" if absent else ""
    return why


def complaint(parse: Callable[[Sequence[str]], object], words: Sequence[str]) -> str:
    """What a parser says of these words."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parse(words)
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return ""


# ------------------------------------------------------------------ the rules


def test_every_block_says_what_it_is() -> None:
    odd = [f"{one.page}: {one.kind or 'a bare fence'}" for page in PAGES for one in blocks(page)]
    assert [one for one in odd if one.partition(": ")[2] not in KINDS] == []


def test_every_fenced_command_is_run_or_listed_with_a_reason() -> None:
    known = {*IN_THE_LAB, *ELSEWHERE, *LISTED}
    assert {command: page for command, page in FENCED.items() if command not in known} == {}


def test_no_command_has_two_ways() -> None:
    assert set(IN_THE_LAB) & set(ELSEWHERE) == set()
    assert set(LISTED) & {*IN_THE_LAB, *ELSEWHERE} == set()


def test_nothing_is_listed_or_run_that_the_docs_no_longer_have() -> None:
    assert {*IN_THE_LAB, *ELSEWHERE, *LISTED} - set(FENCED) == set()


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_is_said_to_be_run_by_another_test_has_that_test(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test


@pytest.mark.parametrize("command", sorted(FENCED))
def test_a_fenced_command_is_taken_by_the_program_that_it_names(command: str) -> None:
    if not command.startswith("the script of "):
        assert not fault(command, whole=True)


@pytest.mark.parametrize("command", sorted(INLINE))
def test_a_command_within_a_sentence_is_one(command: str) -> None:
    assert not fault(command, whole=False)


def test_what_is_typed_in_the_lab_names_no_other_stack() -> None:
    typed = [in_the_lab(command, run) for command, run in IN_THE_LAB.items()]
    assert [line for line in typed if "--stack " in line and "--stack lab" not in line] == []


ON_A_STACK = re.compile(
    r"(?<![Ss]ince a )"
    r"`((?:scripts/(?:peers|keys|gateways)|pulumi (?:up|preview|stack|cancel))\b[^`]*)`"
)
"""Which stack is selected, or was the last time, is no answer at night."""


def test_every_command_of_a_runbook_says_on_which_stack() -> None:
    pages = [page for page in PAGES if page.parent == ROOT / "docs/runbooks"]
    typed = {
        f"{page.name}: {command}"
        for page in pages
        for command in (
            *ON_A_STACK.findall(" ".join(documented.FENCED.sub("", page.read_text()).split())),
            *(one for block in blocks(page) for one in commands_in(block)),
        )
        if re.search(r"scripts/|pulumi", command)
    }
    assert len(typed) > len(pages)
    assert sorted(line for line in typed if "--stack " not in line) == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("scripts/peers --stack prod ad alice", "invalid choice"),
        ("scripts/gateways --stack prod replace --al", "unrecognized arguments"),
        ("scripts/peers list", "--stack is missing"),
        ("scripts/nothing", "no such program"),
        ("bench/drain.py --drain-it", "no --drain-it"),
        ("make tea", "no such target"),
        ("aws ec2 get-console-output --latest --instance i-1", "unknown: --instance"),
    ],
)
def test_a_command_that_is_wrong_would_be_noticed(command: str, why: str) -> None:
    assert why in fault(command, whole=True)


def test_an_operation_that_aws_does_not_have_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="has no list-nothing"):
        fault("aws ec2 list-nothing", whole=True)
