"""The commands of the docs are typed into the lab as they stand there, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from documented import ADDED, IN_THE_LAB, ROOT, blocks, in_the_lab

from client import keys
from lab import clients, paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lab_driver import LabDriver

LIMIT = 150
"""Seconds; live-check's clients are the slowest."""
SCRIPT = "the script of "
CLIENT = "carol"
"""Whom one of the commands makes."""


@pytest.fixture(scope="module")
def surroundings(lab: LabDriver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to type in, which has what a checkout has; who comes in is cut off at the end."""
    lab.both_healthy()
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        (folder / entry.name).symlink_to(entry)
    yield folder
    clients.down(CLIENT)
    clients.config_file(CLIENT).unlink(missing_ok=True)
    for name in (*ADDED, CLIENT):
        lab.peers("revoke", name, "--no-wait", check=False)


@pytest.fixture(scope="module")
def variables(lab: LabDriver) -> Mapping[str, str]:
    """What docs/http-api.md has people set, from where it says that it is in the lab."""
    del lab
    api = json.loads(paths.api().read_text())
    return {
        **os.environ,
        "API_URL": api["url"],
        "AWS_REGION": api["region"],
        "AWS_ACCESS_KEY_ID": api["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": api["secret_access_key"],
    }


@pytest.mark.timeout(LIMIT + 30)
@pytest.mark.parametrize("command", IN_THE_LAB)
def test_a_command_of_the_docs_does_what_they_say(
    surroundings: Path, variables: Mapping[str, str], command: str
) -> None:
    run = IN_THE_LAB[command]
    line = in_the_lab(command, run)
    if command.startswith(SCRIPT):
        page = ROOT / command.removeprefix(SCRIPT)
        (block,) = (one for one in blocks(page) if one.kind == "bash")
        line = f"set -e\n{block.body}"
    done = subprocess.run(  # noqa: S603 - what the docs say
        ["/bin/bash", "-c", line],
        cwd=surroundings,
        env={**variables, "PUBLIC_KEY": keys.generate().public},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == run.status, f"{line}\n{done.stdout}{done.stderr}"
    assert run.says in done.stdout + done.stderr
