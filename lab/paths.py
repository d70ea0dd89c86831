"""Where the lab keeps its things. Nothing here creates anything but directories.

`base/` is the cached machine image and survives `down`; `run/` belongs to one run and goes with it.
"""

from __future__ import annotations

from pathlib import Path

from registry import local_cloud

ROOT_VARIABLE = local_cloud.DIRECTORY_VARIABLE
"""Environment variable that puts the lab elsewhere; the tests of the lab's own code use it."""

CHECKOUT = Path(__file__).resolve().parent.parent
"""The directory of `Pulumi.yaml` and `__main__.py`; daemons are started there."""


def root() -> Path:
    """The lab's directory, root-owned."""
    return local_cloud.directory()


def lock() -> Path:
    """Held with flock by the one command that changes the lab."""
    return root() / "lock"


def base() -> Path:
    """The cached base image."""
    return root() / "base"


def run() -> Path:
    """Everything of this run."""
    return root() / "run"


def pids() -> Path:
    """One JSON file per daemon: `{"pid", "started"}`."""
    return run() / "pids"


def log(name: str) -> Path:
    """The log file of daemon `name`."""
    return run() / "log" / f"{name}.log"


def state() -> Path:
    """What `lab.deploy` has made: see `lab/state.py`."""
    return run() / "state.json"


def cloud() -> Path:
    """Where the cloud says how it is reached; also read by the commands on the stack `lab`."""
    return local_cloud.address()


def api() -> Path:
    """Written by `lab.api` once it answers: where it is, and a key to sign with. Mode 0600."""
    return run() / "api.json"


def target_health() -> Path:
    """Written by the balancer: `{target group ARN: {instance id: {"state", "reason"}}}`."""
    return run() / "target-health.json"


def prepare() -> None:
    """Make the directories of a run; only root reads them."""
    for path in (root(), run(), pids(), run() / "log"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
