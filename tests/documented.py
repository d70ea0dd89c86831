"""What the docs tell people to type, and how each of it is known to be right.

A block that is fenced as `sh` holds commands, one a line; one fenced as `bash` is a script as a
whole. Each of them is run in the lab (`IN_THE_LAB`), or by another test with other words
(`ELSEWHERE`), or stands in docs/commands-not-run.txt under the reason why not.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = ROOT / "docs/commands-not-run.txt"

FENCED = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"`((?:scripts|bench)/[^`]+|(?:make|aws) [^`]+)`")
COMMENT = re.compile(r"(?:^|\s)#\s.*$")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: str
    kind: str
    body: str


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page."""
    name = str(page.relative_to(ROOT))
    found = FENCED.finditer(page.read_text())
    return [Block(name, one["kind"], textwrap.dedent(one["body"])) for one in found]


def commands_in(block: Block) -> Iterator[str]:
    """The commands of one block, without comments; a script by its page's name."""
    if block.kind == "bash":
        yield f"the script of {block.page}"
    elif block.kind == "sh":
        for line in block.body.replace("\\\n", " ").splitlines():
            command = " ".join(COMMENT.sub("", line).split())
            if command:
                yield command


def fenced() -> dict[str, str]:
    """Every fenced command -> a page that has it."""
    return {
        command: block.page
        for page in PAGES
        for block in blocks(page)
        for command in commands_in(block)
    }


def inline() -> dict[str, str]:
    """Every command that is named within a sentence -> a page that has it."""
    return {
        " ".join(command.split()): str(page.relative_to(ROOT))
        for page in PAGES
        for command in INLINE.findall(FENCED.sub("", page.read_text()))
    }


def not_run() -> dict[str, str]:
    """Every command of docs/commands-not-run.txt -> the reason that it stands under."""
    found: dict[str, str] = {}
    reason = ""
    for line in NOT_RUN.read_text().splitlines():
        if line.startswith("## "):
            reason = line.removeprefix("## ")
        elif line and not line.startswith("#"):
            assert reason, f"{line}: stands under no reason"
            assert line not in found, f"{line}: stands there twice"
            found[line] = reason
    return found


# ------------------------------------------------------------------ how they are run


@dataclass(frozen=True)
class Run:
    """How a command is run in the lab, in the order of the table."""

    instead: tuple[tuple[str, str], ...] = ()
    """What is other there: the docs' people have no key yet, the lab's alice has."""
    status: int = 0
    says: str = ""
    """Somewhere on stdout or stderr."""


LAB_STACK = re.compile(r"--stack (?:staging|prod)\b")


def in_the_lab(command: str, run: Run) -> str:
    """The words that are typed in the lab."""
    for word, other in run.instead:
        assert word in command, f"{command}: has no {word!r}"
        command = command.replace(word, other)
    return LAB_STACK.sub("--stack lab", command)


ALICE, BOB, CAROL = ("alice", "doc-alice"), ("bob", "doc-bob"), ("carol", "doc-carol")
THERE = ("10.40.", "10.20.")
"""The block of the VPC."""

IN_THE_LAB: dict[str, Run] = {
    "scripts/lab status": Run(says="2 gateways"),
    "scripts/peers --stack lab list": Run(says="alice"),
    "scripts/gateways --stack staging wait": Run(says="2 gateways are healthy"),
    "scripts/lab client carol": Run(),
    "scripts/lab exec alice ping -c 3 10.20.32.10": Run(says="3 received"),
    "scripts/lab flows --of 10.20.32.10": Run(says="10.20.32.10"),
    "scripts/peers --stack staging add alice --out alice.conf": Run((ALICE,)),
    "scripts/peers --stack staging config dana --out dana.conf": Run(
        (("config dana", "config doc-alice"),)
    ),
    "scripts/peers --stack staging add bob --expires 30d --allow 10.40.3.0/24:tcp/5432 --qr": Run(
        (BOB, THERE)
    ),
    "scripts/peers --stack staging revoke bob": Run((BOB,), says="gateways"),
    "scripts/peers --stack staging audit bob": Run((BOB,), says="revoke"),
    "scripts/peers --stack staging audit alice": Run((ALICE,), says="add"),
    "scripts/peers --stack staging audit --since 2h --json": Run(says="connections"),
    "scripts/peers --stack prod audit --since 1h | awk '$3 == \"connect\" {print $4}' "
    "| sort | uniq -c | sort -n | tail": Run(),  # who: of those that have ended
    "scripts/peers --stack staging audit alice --changes-only": Run((ALICE,), says="add"),
    "scripts/peers --stack staging add carol --preshared-key --out carol.conf": Run((CAROL,)),
    "scripts/peers --stack staging apply examples/peers.yaml --plan": Run(status=3, says="dana"),
    "scripts/peers --stack lab apply examples/peers.yaml --plan": Run(status=3, says="dana"),
    "scripts/gateways --stack staging list": Run(says="healthy/healthy"),
    "scripts/gateways --stack prod list": Run(says="healthy/healthy"),
    "scripts/peers --stack prod list": Run(says="doc-alice"),
    "scripts/keys --stack staging status": Run(),
    ".venv/bin/python examples/expiring.py --stack lab --days 14": Run(),
    '.venv/bin/python examples/add_peer.py --url "$API_URL" --region "$AWS_REGION" frank '
    '"$PUBLIC_KEY" --expires 30d': Run((("frank", "doc-frank"),), says="PUT_YOUR_PRIVATE_KEY_HERE"),
    "the script of docs/http-api.md": Run(says='"confirmed": true'),
    "scripts/live-check failover --stack staging --target 10.40.128.10 --plan": Run(
        (("10.40.128.10", "10.20.32.10"),), status=3, says="TERMINATES"
    ),
    "scripts/live-check roaming --stack lab --clients 2 --rounds 1 --yes": Run(
        says="roaming_takeover_max"
    ),
}
"""In this order. Who was added is revoked at the end."""

ADDED = ("doc-alice", "doc-carol", "doc-frank")

_BENCHES = "tests/lab/test_benches.py::test_"
_LIVE = "tests/lab/test_live_check.py::test_"
_HELPER = "tests/gateway_lab/test_helper.py::test_"
_RESTORE = "tests/lab/test_restore.py::test_"
_RESTORED = (
    _RESTORE + "a_restore_takes_nothing_from_who_stays_and_gives_nothing_back_to_who_was_cut_off"
)
_FROM_ARCHIVE = _RESTORE + "an_emptied_registry_cuts_nobody_off_and_comes_back_from_the_archive"

ELSEWHERE: dict[str, str] = {
    "scripts/lab kill GATEWAY": "tests/lab/test_replacement.py::"
    "test_the_key_outlives_both_gateways",
    "scripts/peers --stack staging apply examples/peers.yaml": "tests/registry/"
    "test_apply_command.py::"
    "test_what_is_applied_is_what_the_file_says_and_then_there_is_nothing_to_do",
    "scripts/gateways --stack staging replace": "tests/registry/test_draining_commands.py::"
    "test_all_are_replaced_with_never_fewer_in_service",
    "scripts/gateways --stack prod replace ID": "tests/registry/test_draining_commands.py::"
    "test_one_is_replaced_launched_first_and_drained_before_its_end",
    **{
        f"scripts/peers --stack {stack} restore --to 2027-01-31T12:00:00Z{words}": _RESTORED
        for stack, words in (("staging", " --plan"), ("prod", " --plan"), ("prod", ""))
    },
    **{
        f"scripts/peers --stack prod restore --to {words}": _FROM_ARCHIVE
        for words in (
            "2027-01-31T12:00:00Z --from-archive --plan",
            "2027-01-31T12:00:00Z --from-archive",
            "TIME --from-archive",
        )
    },
    "bench/failover.py": _BENCHES + "failover_measures_deaths_roaming_and_failback",
    "bench/revocation.py": _BENCHES
    + "revocation_measures_both_gateways_and_expiry_without_the_cloud",
    "bench/connections.py": _BENCHES + "connections_measures_what_translation_breaks",
    "bench/rotation.py": _BENCHES + "rotation_measures_helpers_plain_clients_and_stragglers",
    "bench/drain.py": _BENCHES + "drain_measures_the_clients_that_were_moved",
    "bench/scale.py": _BENCHES + "scale_measures_a_boot_an_addition_and_an_idle_agent",
    "bench/throughput.py": _BENCHES + "throughput_measures_a_gateway_and_two_bare_wireguards",
    "bench/faults.py": "tests/lab/test_fault_list.py::"
    "test_clients_see_of_a_quick_fault_what_was_promised",
    **{
        f"sudo -E scripts/live-check {name} --stack staging --target 10.40.128.10 --json": _LIVE
        + "a_deployed_stack_is_measured_from_outside_and_left_as_it_was"
        for name in ("failover", "drain", "roaming")
    },
    "sudo gatepair-helper wg0": _HELPER
    + "a_rotation_loses_no_packet_and_no_connection_with_the_helper",
    "sudo gatepair-helper wg0 --dry-run": _HELPER + "once_moves_and_ends",
    "sudo gatepair-helper wg0 --once": _HELPER + "once_moves_and_ends",
}
"""Run by a test with other words, or through the function that the command is."""
