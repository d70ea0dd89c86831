"""Breaks the code on purpose, one way at a time; every break must fail a test.

The breaks are data: tests/mutants/ROOM.toml or ROOM-PART.toml. It works on copies of the tree,
one for each job, so that several can run at once and nothing of yours is touched.

exit status: 0 all killed, 1 a mutant survived or the tests fail without any, 2 a stale list
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests" / "mutants"
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".build", "__pycache__", ".pytest_cache", ".ruff_cache"
)
LIMIT = 240
"""Seconds for one run of the tests; a mutant that makes them hang longer is killed, too."""
KILLED, SURVIVED, STALE = 0, 1, 2


@dataclass(frozen=True)
class Mutant:
    """One break: in `file`, the first `find` becomes `put`, and `tests` must notice."""

    room: str
    what: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.room}: {self.what}"


def read(lists: Path = LISTS) -> list[Mutant]:
    """All mutants of all rooms. A list has its `tests`, which a single mutant may narrow."""
    found = []
    for path in sorted(lists.glob("*.toml")):
        room = tomllib.loads(path.read_text())
        for entry in room["mutant"]:
            tests = tuple(entry.pop("tests", room["tests"]))
            found.append(Mutant(room=path.stem, tests=tests, **entry))
    return found


def stale(mutants: Iterable[Mutant], root: Path = ROOT) -> list[str]:
    """The mutants whose place in the code is gone."""
    return [
        f"{mutant}: {mutant.file} does not hold {mutant.find!r}"
        for mutant in mutants
        if mutant.find not in _text(root / mutant.file)
    ]


def passes(tests: Sequence[str], tree: Path) -> bool:
    """Whether `tests` pass in `tree`."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    # no bytecode: two versions of one file within a second would share it
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(  # noqa: S603 - this very Python
            command, cwd=tree, env=env, capture_output=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether the tests pass in `tree` with `mutant` in it; `tree` is put back."""
    path = tree / mutant.file
    whole = path.read_text()
    path.write_text(whole.replace(mutant.find, mutant.put, 1))
    try:
        return passes(mutant.tests, tree)
    finally:
        path.write_text(whole)


def run(mutants: Sequence[Mutant], jobs: int) -> int:
    """Try them all; say what became of each."""
    with tempfile.TemporaryDirectory(prefix="gatepair-mutants-") as place:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            tree = Path(place) / str(number) / "tree"
            shutil.copytree(ROOT, tree, ignore=LEFT_OUT, symlinks=True)
            trees.put(tree)

        def in_a_tree(mutant: Mutant | None, tests: Sequence[str] = ()) -> bool:
            tree = trees.get()
            try:
                return survives(mutant, tree) if mutant else passes(tests, tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            suites = sorted({mutant.tests for mutant in mutants})
            healthy = pool.map(lambda tests: in_a_tree(None, tests), suites)
            broken = [suite for suite, good in zip(suites, healthy, strict=True) if not good]
            for suite in broken:
                print("FAIL without any mutant:", *suite)
            if broken:
                return SURVIVED
            alive = 0
            for mutant, lives in zip(mutants, pool.map(in_a_tree, mutants), strict=True):
                alive += lives
                print("SURVIVED" if lives else "killed  ", mutant, flush=True)
    print(f"{len(mutants) - alive} of {len(mutants)} mutants killed")
    return SURVIVED if alive else KILLED


def main(argv: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--room", action="append", help="only lists whose name starts so")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("words", nargs="*", help="only those whose description has one of these")
    options = parser.parse_args(argv)
    mutants = read()
    gone = stale(mutants)
    if gone:
        print(*gone, sep="\n", file=sys.stderr)
        return STALE
    chosen = [
        mutant
        for mutant in mutants
        if (not options.room or mutant.room.startswith(tuple(options.room)))
        and (not options.words or any(word in mutant.what for word in options.words))
    ]
    if not chosen:
        print("mutants: none chosen", file=sys.stderr)
        return STALE
    return run(chosen, max(1, options.jobs))


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
