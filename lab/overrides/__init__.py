"""Where the lab's cloud departs from moto, one subject a module; each says what AWS does instead.

`install()` replaces functions of moto in this process. They were written against moto 5.2.5.
"""

from __future__ import annotations

import importlib.metadata

from effects import Refusal
from lab import dynamodb
from lab.overrides import (
    addresses,
    autoscaling,
    balancing,
    bucket_policies,
    changes,
    interfaces,
    launch_templates,
    routes,
)

MOTO = "5.2.5"
SUBJECTS = (
    addresses,
    balancing,
    autoscaling,
    bucket_policies,
    interfaces,
    launch_templates,
    routes,
    dynamodb,
    # Last, around what the others have put in place
    changes,
)


def install() -> None:
    """Put all replacements in place; again is no harm. Raises `Refusal` for another moto."""
    found = importlib.metadata.version("moto")
    if found != MOTO:
        cure = "install requirements.lock, or check lab/overrides and raise MOTO there"
        raise Refusal(f"moto {found}", f"lab/overrides replace parts of moto {MOTO}", cure)
    for subject in SUBJECTS:
        subject.install()
