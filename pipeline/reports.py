"""A preview as people read it: a line, a list, and Markdown for GitHub. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.changes import Change, Preview

LONGEST = 60_000
"""Characters of a comment or an issue, less some: GitHub takes 65,536."""

VERBS = {
    "create": "to create",
    "delete": "to delete",
    "import": "to import",
    "replace": "to replace",
    "update": "to update",
}
SHOWN = 50
"""Changes that are listed; the diff has the rest."""


def headline(preview: Preview) -> str:
    """What it comes to, in a few words."""
    if preview.violations:
        return f"the policy forbids it ({len(preview.violations)} violations)"
    if not preview.good:
        return "it failed"
    if not preview.changes:
        return "no changes"
    counts = [f"{number} {VERBS.get(verb, verb)}" for verb, number in preview.counts().items()]
    return f"{', '.join(counts)}, {preview.unchanged} unchanged"


def listed(preview: Preview) -> Iterator[str]:
    """Everything of note, one line each: what would be lost first."""
    yield from (f"cannot be undone: {_told(change)}: {change.loss}" for change in preview.losses)
    yield from preview.errors
    yield from (f"policy: {text}" for text in preview.violations)
    yield from (f"policy, advice: {text}" for text in preview.advice)
    for change in preview.changes[:SHOWN]:
        yield _told(change)
    if len(preview.changes) > SHOWN:
        yield f"and {len(preview.changes) - SHOWN} more"


def markdown(preview: Preview, *, stack: str, diff: str) -> str:
    """A comment, an issue's text or a summary. `diff` is what the engine prints for people."""
    parts = [f"### Stack `{_inline(stack)}`: {headline(preview)}", ""]
    if preview.losses:
        parts += ["> [!CAUTION]", "> **This cannot be undone.** Merge it only if it is meant.", ">"]
        parts += [
            f"> - {change.operation} `{_inline(change.name)}` (`{_inline(change.kind)}`): "
            f"{change.loss}"
            for change in preview.losses
        ]
        parts.append("")
    for title, lines in (
        ("Errors", preview.errors),
        ("Policy violations", preview.violations),
        ("Policy advice", preview.advice),
    ):
        if lines:
            parts += [f"**{title}**", "", *_fenced(lines), ""]
    if preview.changes:
        parts += [*_fenced(_told(change) for change in preview.changes[:SHOWN]), ""]
        if len(preview.changes) > SHOWN:
            parts += [f"and {len(preview.changes) - SHOWN} more", ""]
    head = "\n".join(parts)
    room = LONGEST - len(head)
    if not diff.strip() or room <= 0:
        return head[:LONGEST] + "\n"
    shown = diff if len(diff) <= room else diff[:room] + "\n... cut off here; the log has all of it"
    block = "\n".join(_fenced(shown.splitlines(), "diff"))
    return f"{head}\n<details><summary>Diff</summary>\n\n{block}\n\n</details>\n"


def as_json(preview: Preview, stack: str) -> dict[str, Any]:
    """For programs."""
    return {
        "stack": stack,
        "good": preview.good,
        "digest": preview.digest,
        "counts": preview.counts(),
        "unchanged": preview.unchanged,
        "losses": [_json(change) for change in preview.losses],
        "changes": [_json(change) for change in preview.changes],
        "violations": list(preview.violations),
        "advice": list(preview.advice),
        "errors": list(preview.errors),
    }


def _json(change: Change) -> dict[str, Any]:
    return {
        "operation": change.operation,
        "name": change.name,
        "type": change.kind,
        "urn": change.urn,
        "properties": list(change.properties),
        **({"loss": change.loss} if change.loss else {}),
    }


def _told(change: Change) -> str:
    what = f"{change.operation} {change.name} ({change.kind})"
    return f"{what}: {', '.join(change.properties)}" if change.properties else what


def _inline(text: str) -> str:
    """For a code span: nothing in it can end it."""
    return " ".join(text.replace("`", "'").split())


def _fenced(lines: Iterable[str], language: str = "") -> list[str]:
    """A code block: nothing in it can end it."""
    lines = list(lines)
    longest = max((len(run) for run in re.findall(r"`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence + language, *lines, fence]
