"""A search for every secret there is, everywhere it could have leaked to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_driver import ROOT

from lab import paths, secret_search

if TYPE_CHECKING:
    from pathlib import Path

    from lab_driver import LabDriver

OWN_FILES = re.compile(r"/machines/i-[0-9a-f]+/[a-z]+/var/lib/gatepair/(keys/\d+|gossip\.key)$")
"""A gateway's own keys, as its disk holds them: readable by its root alone."""


def secrets_of(lab: LabDriver) -> dict[str, bytes]:
    """The gateways' keys, from Secrets Manager, and the clients', from their configs."""
    found = {f"gateway key {v}": key.encode() for v, key in lab.secret_versions().items()}
    for config in sorted((paths.run() / "clients").glob("*.conf")):
        (key,) = re.findall(r"^PrivateKey = (\S+)$", config.read_text(), re.MULTILINE)
        found[f"key of {config.stem}"] = key.encode()
    return found


def user_data(lab: LabDriver) -> dict[str, bytes]:
    """What each gateway was started with, as its own metadata service hands it out."""
    return {
        g: lab.on(g, "cat", "/var/lib/cloud/instance/user-data.txt").stdout.encode()
        for g in lab.gateways()
    }


def test_the_search_is_not_blind(tmp_path: Path) -> None:
    secret_search.planted(tmp_path)


@pytest.mark.timeout(300)
def test_no_secret_is_anywhere_but_in_its_own_file(lab: LabDriver) -> None:
    wanted = secrets_of(lab)
    assert len(wanted) >= 3, "a gateway's key and two clients'"
    search = secret_search.Search(wanted)
    found = [
        f for g, text in user_data(lab).items() for f in search.text(text, f"user data of {g}")
    ]
    found += search.processes()
    # A machine's disk is its upper layer, journals and logs included; the merged view repeats it
    merged = [one / "root" for one in (paths.run() / "machines").glob("i-*")]
    clients = paths.run() / "clients"
    found += search.files([paths.run(), ROOT], leave_out=[*merged, clients, ROOT / ".venv"])
    own = [one for one in found if OWN_FILES.search(one.place)]
    assert own, "the gateways' own key files are found, or the search has looked in the wrong place"
    assert [one for one in found if one not in own] == []


def test_key_files_are_their_owners_alone(lab: LabDriver) -> None:
    for gateway in lab.gateways():
        listed = lab.on(gateway, "find", "/var/lib/gatepair", "-printf", "%m %u %y %p\n").stdout
        for line in listed.splitlines():
            mode, user, _kind, place = line.split(" ", 3)
            assert user == "root"
            if place == "/var/lib/gatepair" or "/keys" in place or place.endswith(".key"):
                assert mode[-2:] == "00", line
    for config in (paths.run() / "clients").glob("*.conf"):
        assert config.stat().st_mode & 0o077 == 0, config


def test_the_registry_holds_no_private_key(lab: LabDriver) -> None:
    pages = lab.dynamodb.get_paginator("scan").paginate(TableName=lab.stack.table)
    search = secret_search.Search(secrets_of(lab))
    text = "\n".join(str(item) for page in pages for item in page["Items"])
    assert text
    assert list(search.text(text.encode(), "the registry")) == []
