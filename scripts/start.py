"""What an operators' command begins with: the project's own Python, and its module."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

HOME = Path(__file__).resolve().parent.parent
PYTHON = HOME / ".venv" / "bin" / "python"


def command(module: str) -> NoReturn:
    """Be the command that `main` of a module is."""
    script = Path(sys.argv[0])
    if PYTHON.exists() and Path(sys.prefix).resolve() != (HOME / ".venv").resolve():
        os.execv(PYTHON, [str(PYTHON), str(script), *sys.argv[1:]])  # noqa: S606 - no shell is wanted
    sys.path.insert(0, str(HOME))
    try:
        from commands.terminal import process_start  # noqa: PLC0415 - by its own Python

        main = import_module(module).main
    except ModuleNotFoundError as err:
        sys.exit(f"{script.name}: {err.name} is not installed; run scripts/install")
    sys.exit(main(sys.argv[1:], process_start()))
