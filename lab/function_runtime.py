"""Lambda's place in the lab: a process that has a function's code and environment, and little else.

Started by path as `python -P function_runtime.py DIRECTORY HANDLER`: an event a line on stdin, a
line for each on stdout, `{"answer": ...}` or `{"error": ...}`. What the function prints is its log
and goes to stderr. Nothing of the checkout can be imported, only what is in DIRECTORY, and boto3.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback


def main() -> None:
    """Serve events until stdin ends."""
    directory, handler = sys.argv[1:3]
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        sys.path.insert(0, directory)
        module, _, name = handler.rpartition(".")
        handle = getattr(importlib.import_module(module), name)
        for line in sys.stdin:
            try:
                said = {"answer": handle(json.loads(line), None)}
            except Exception:  # noqa: BLE001 - whatever it is, Lambda would report it too
                traceback.print_exc()
                said = {"error": "the function raised an exception"}
            answers.write(json.dumps(said) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
