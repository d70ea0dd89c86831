"""What is to be done around the merge of a rotation's pull request, after the runbook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from commands.rotation import Situation
    from pipeline.generations import Edit

RUNBOOK = "docs/runbooks/rotate-the-key.md"

RUN = """\
- [ ] a workflow opened this pull request: press "Approve and run workflows", or close and reopen \
it, so that `check` and `preview` run
"""


def begin(edits: Mapping[str, Edit]) -> str:
    """For the pull request that adds a generation."""
    parts = [
        "The quarterly rotation of the server's key: each stack serves its next generation beside "
        f"the one that clients use. With the helper nobody notices. Runbook: `{RUNBOOK}`.\n\n",
        _table(edits),
        "\nBefore the merge\n\n",
        RUN,
        "- [ ] `preview` shows one resource to update in each stack, `peer-registry-control`; "
        "anything more is not part of a rotation\n",
    ]
    for stack, edit in edits.items():
        old, new = edit.after[0], edit.after[-1]
        parts.append(
            f"\nStack {stack}\n\n"
            f"- [ ] before: `scripts/gateways --stack {stack} wait`, all are well; "
            f"`scripts/keys --stack {stack} status`, generation {old} is served by all\n"
            f"- [ ] deployed; `scripts/keys --stack {stack} status`: {new} is served by all too\n"
            f"- [ ] who has no helper was sent a config: `scripts/peers --stack {stack} config "
            "NAME`, for a phone `rotate NAME --qr`\n"
        )
    parts.append(
        "\nThe pull request that ends the overlap comes by itself, when nobody who was here within "
        "a week uses the old key. The way back until then: the two numbers in the other order.\n"
    )
    return "".join(parts)


def end(stack: str, edit: Edit, situation: Situation) -> str:
    """For the pull request that ends an overlap."""
    new, unseen = edit.after[0], situation.using(None)
    return "".join(
        [
            f"The rotation of stack {stack} ends: from now on clients need generation {new}. "
            f"Runbook: `{RUNBOOK}`.\n\n",
            _table({stack: edit}),
            f"\nWhen this was opened, {situation.using(new)} peers used generation {new}, none "
            f"that was here of late the old one, and {unseen} had not been seen.\n\n",
            RUN,
            "- [ ] `preview` shows one resource to update, `peer-registry-control`\n",
            f"- [ ] just before the merge: `scripts/keys --stack {stack} wait --days 7`\n",
            "- [ ] those that have not been seen were sent a config: "
            f"`scripts/keys --stack {stack} status --json` names them\n",
            f"- [ ] deployed; `scripts/keys --stack {stack} wait`: {new} is served by all and no "
            "other\n",
        ]
    )


def _table(edits: Mapping[str, Edit]) -> str:
    rows = [f"| {stack} | {_list(e.before)} | {_list(e.after)} |" for stack, e in edits.items()]
    return "\n".join(["| stack | keyGenerations | becomes |", "|---|---|---|", *rows]) + "\n"


def _list(numbers: tuple[int, ...]) -> str:
    return f"`{list(numbers)}`"
