"""What `bench/NAME.py` imports first: goes on as module `bench.NAME`, by the project's own Python.

Python puts the folder of a script that is run as a file on its path, and not the one above.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
PYTHON = HOME / ".venv" / "bin" / "python"
REFUSED = 2

script = Path(sys.argv[0]).resolve()
if os.geteuid() != 0 and not {"-h", "--help"} & set(sys.argv):
    sys.stderr.write(f"{script.stem}: needs root for the lab; run it with sudo\n")
    sys.exit(REFUSED)
if PYTHON.exists() and Path(sys.prefix).resolve() != (HOME / ".venv").resolve():
    os.execv(PYTHON, [str(PYTHON), str(script), *sys.argv[1:]])  # noqa: S606 - with its packages
sys.path[0] = str(HOME)
try:
    runpy.run_module(f"bench.{script.stem}", run_name="__main__", alter_sys=True)
except ModuleNotFoundError as err:
    sys.stderr.write(f"{script.stem}: {err.name} is not installed; run scripts/install\n")
    sys.exit(REFUSED)
sys.exit(0)
