"""A search for every secret there is, everywhere it could have leaked to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_driver import ROOT, eventually

from lab import paths, secret_search

if TYPE_CHECKING:
    from pathlib import Path

    from lab_driver import LabDriver

OWN_FILES = re.compile(
    r"/machines/i-[0-9a-f]+/[a-z]+/var/lib/gatepair/"
    r"(keys/\d+|gossip\.key|preshared/[0-9a-f]{64})$"
)
"""A gateway's own keys and its clients' pre-shared ones, as its disk holds them: readable by its
root alone."""

SHARING = "judy"
"""A peer with a pre-shared key."""


@pytest.fixture(scope="module", autouse=True)
def sharing(lab: LabDriver) -> None:
    """Her pre-shared key is on both gateways."""
    config = paths.run() / "clients" / f"{SHARING}.conf"
    lab.peers("add", SHARING, "--preshared-key", "--out", str(config))
    eventually(
        "both gateways have her pre-shared key",
        lambda: all(
            lab.on(one, "find", "/var/lib/gatepair/preshared", "-type", "f", check=False).stdout
            for one in lab.both_healthy()
        ),
        within=30,
    )


def secrets_of(lab: LabDriver) -> dict[str, bytes]:
    """The gateways' keys, from Secrets Manager, and the clients', from their configs."""
    found = {f"gateway key {v}": key.encode() for v, key in lab.secret_versions().items()}
    for config in sorted((paths.run() / "clients").glob("*.conf")):
        (key,) = re.findall(r"^PrivateKey = (\S+)$", config.read_text(), re.MULTILINE)
        found[f"key of {config.stem}"] = key.encode()
        for shared in re.findall(r"^PresharedKey = (\S+)$", config.read_text(), re.MULTILINE):
            found[f"pre-shared key of {config.stem}"] = shared.encode()
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
    assert f"pre-shared key of {SHARING}" in wanted
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
    for what in ("/keys/", "/preshared/"):
        assert [one for one in own if what in one.place], f"{what}: looked in the wrong place"
    assert [one for one in found if one not in own] == []


def test_key_files_are_their_owners_alone(lab: LabDriver) -> None:
    for gateway in lab.gateways():
        listed = lab.on(gateway, "find", "/var/lib/gatepair", "-printf", "%m %u %y %p\n").stdout
        for line in listed.splitlines():
            mode, user, _kind, place = line.split(" ", 3)
            assert user == "root"
            own = ("/keys", "/preshared", ".key")
            if place == "/var/lib/gatepair" or any(part in place for part in own):
                assert mode[-2:] == "00", line
    for config in (paths.run() / "clients").glob("*.conf"):
        assert config.stat().st_mode & 0o077 == 0, config


def test_the_registry_holds_no_private_key(lab: LabDriver) -> None:
    pages = lab.dynamodb.get_paginator("scan").paginate(TableName=lab.stack.table)
    search = secret_search.Search(secrets_of(lab))
    text = "\n".join(str(item) for page in pages for item in page["Items"])
    assert text
    assert list(search.text(text.encode(), "the registry")) == []
