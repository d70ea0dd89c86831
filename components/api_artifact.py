"""The HTTP API's code as one file for Lambda, the same bytes wherever it is made. Pure."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

from components.artifact import Artifact, files

if TYPE_CHECKING:
    from pathlib import Path

PARTS = (
    "api",
    "client/__init__.py",
    "client/config.py",
    "client/describe.py",
    "effects.py",
    "registry",
)
"""What the function runs, relative to the repository. boto3 is not among it: Lambda's runtimes for
Python have it (Lambda developer guide, "Building Lambda functions with Python", section
"Runtime-included SDK versions")."""

_MODE = 0o100644
"""A plain file that everybody may read: Lambda runs the function as a user of its own."""


def build(root: Path) -> Artifact:
    """The artifact of the repository at `root`: a zip file, stored, without times.

    Not compressed for the reason that the gateways' is not: the same code is the same hash.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in files(root, PARTS):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix())  # of 1980, as it is made
            entry.create_system = 3  # unix, wherever it is made: the mode counts
            entry.external_attr = _MODE << 16
            archive.writestr(entry, path.read_bytes())
    data = out.getvalue()
    return Artifact(data, hashlib.sha256(data).hexdigest(), "http-api-{}.zip")
