"""How a bench ends, and where its words go."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.command import FAILED, INTERRUPTED, MEASURED, REFUSED, NotMeasured, parser, run
from bench.report import Report
from effects import Failed, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
BENCHES = ("drain", "failover", "faults", "revocation", "rotation", "scale", "throughput")


@pytest.fixture(autouse=True)
def nothing_leaves_the_process() -> None:
    """A bench is started here as its user starts it."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def told(error: BaseException | None, *words: str) -> int:
    def measure(options: Any, say: Any) -> Report:
        del options
        say("at work")
        if error is not None:
            raise error
        return Report("x", {"p50": 99.0}, {}, [])

    return run(parser("x", "text"), measure, words)


def test_json_is_alone_on_stdout_and_progress_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(None, "--json") == MEASURED
    out, err = capsys.readouterr()
    assert json.loads(out)["figures"] == {"p50": 99.0}
    assert "at work" in err


def test_without_json_there_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(None) == MEASURED
    assert "p50  99.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refusal("the lab", "another command is at work", "wait"), REFUSED),
        (NotMeasured("nobody was live"), FAILED),
        (Failed(["wg"], 1, "no such device"), FAILED),
        (TimeoutError("answers: not so after 3 s"), FAILED),
        (KeyboardInterrupt(), INTERRUPTED),
    ],
)
def test_without_a_measurement_there_is_nothing_on_stdout(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(error, "--json") == status
    out, err = capsys.readouterr()
    assert out == ""
    assert (str(error) or "interrupted") in err


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_is_started_as_a_file_from_anywhere(name: str, tmp_path: Path) -> None:
    script = ROOT / "bench" / f"{name}.py"
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(script), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: bench/{name}.py" in done.stdout
    assert script.stat().st_mode & 0o111
