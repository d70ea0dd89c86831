"""zizmor reads the workflows for what would let a stranger in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ZIZMOR = Path(sys.executable).with_name("zizmor")
"""Of the lock, as this Python is. actionlint is not: its package fetches a program while it is
installed, under no hash that pip would know."""


def zizmor(place: Path) -> subprocess.CompletedProcess[str]:
    """What it finds by itself, without asking GitHub."""
    words = [ZIZMOR, "--offline", "--quiet", "--no-progress", "--format", "plain", place]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=50)  # noqa: S603


def test_zizmor_has_nothing_to_say_against_workflows_and_actions() -> None:
    answer = zizmor(ROOT / ".github")
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout


def test_zizmor_does_say_something_against_a_title_that_a_stranger_wrote(tmp_path: Path) -> None:
    place = tmp_path / ".github" / "workflows"
    place.mkdir(parents=True)
    (place / "bad.yml").write_text(
        """
        on: pull_request_target
        jobs:
          one:
            runs-on: ubuntu-latest
            steps:
              - run: echo "${{ github.event.pull_request.title }}"
        """
    )
    answer = zizmor(tmp_path / ".github")
    assert answer.returncode != 0
    assert "template-injection" in answer.stdout
