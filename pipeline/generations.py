"""The server key's generations in a stack file: the next one, and the end of an overlap. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from effects import Refusal
from pipeline import stack_files

KEY = "gatepair:keyGenerations"


@dataclass(frozen=True)
class Edit:
    """What becomes of one stack file."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    text: str
    """The whole file, with that one line changed."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to change."""
        return self.before != self.after


def served(text: str, name: str) -> tuple[int, ...]:
    """The generations that a stack file asks for. Raises `Refusal`, which names the file `name`."""
    given = stack_files.config(text, name).get(KEY)
    # type(): True is an int in Python and a mistake in a stack file
    good = isinstance(given, list) and all(type(one) is int and one > 0 for one in given)
    if not good or not _rotatable(given):
        why = f"{given!r} is not one positive number, or two adjacent ones"
        raise Refusal(f"{name}: {KEY}", why, "write [1] for a new stack, or what is served now")
    return tuple(given)


def begun(text: str, name: str) -> Edit:
    """Serve the next generation too; nothing changes where two are served already."""
    before = served(text, name)
    after = before if len(before) > 1 else (*before, before[0] + 1)
    return _edited(text, name, before, after)


def ended(text: str, name: str) -> Edit:
    """Serve the newest generation alone, which is the last one that is listed."""
    before = served(text, name)
    return _edited(text, name, before, before[-1:])


def _rotatable(given: list[int]) -> bool:
    match given:
        case [_]:
            return True
        case [old, new]:
            return abs(old - new) == 1
    return False


def _edited(text: str, name: str, before: tuple[int, ...], after: tuple[int, ...]) -> Edit:
    if before == after:
        return Edit(before, after, text)
    edited = stack_files.replaced(text, KEY, str(list(after)))
    wanted = {**stack_files.config(text, name), KEY: list(after)}
    if stack_files.config(edited, name) != wanted:
        why = "is written in a way that cannot be edited without touching other lines"
        raise Refusal(f"{name}: {KEY}", why, f"write {list(after)} there by hand")
    return Edit(before, after, edited)
