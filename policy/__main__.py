"""Where Pulumi's engine starts the pack: `pulumi preview --policy-pack policy`."""

from __future__ import annotations

import sys
from pathlib import Path

# The engine runs this folder, and the pack's modules are a package beside it
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policy.wiring import start

start()
