"""What survives a restart."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from gateway import peer_cache
from gateway.peer_cache import PeerCache, ServedCache
from gateway.peers import KnownPeers, advance
from registry.items import Change, Control, Peer

if TYPE_CHECKING:
    from pathlib import Path

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="


def change(generation: int, kind: str = "put", name: str = "alice") -> Change:
    peer = Peer(name, KEY, IPv4Address("100.96.0.5"), expires=99, allow=("10.0.0.0/8",))
    return Change(generation, "put" if kind == "put" else "remove", peer)


def grow(cache: PeerCache, known: KnownPeers, *changes: Change) -> KnownPeers:
    step = advance(known, changes)
    cache.append(step.known, step.applied)
    return step.known


def test_the_set_and_the_changes_since_are_read_back(tmp_path: Path) -> None:
    cache = PeerCache(tmp_path)
    cache.replace(KnownPeers("e", 4))
    known = grow(cache, KnownPeers("e", 4), change(5), change(6, "put", "bob"))
    known = grow(cache, known, change(7, "remove", "bob"))
    assert PeerCache(tmp_path).load() == known
    assert (tmp_path / "peers.journal").stat().st_mode & 0o777 == 0o600


def test_without_files_nothing_is_known(tmp_path: Path) -> None:
    assert PeerCache(tmp_path).load() is None


HEAD = '{"epoch": "e", "generation": 1, "unreadable": 0, "peers": 1}'


@pytest.mark.parametrize("rest", ["", "\n{}", "\n{"])
def test_a_set_with_a_peer_missing_or_damaged_counts_as_none(tmp_path: Path, rest: str) -> None:
    (tmp_path / "peers.set").write_text(HEAD + rest)
    assert PeerCache(tmp_path).load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"epoch": "e"}'])
def test_a_damaged_set_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "peers.set").write_text(text)
    assert PeerCache(tmp_path).load() is None


def test_a_line_that_a_crash_cut_off_is_dropped_and_not_built_upon(tmp_path: Path) -> None:
    cache = PeerCache(tmp_path)
    cache.replace(KnownPeers("e", 4))
    known = grow(cache, KnownPeers("e", 4), change(5))
    with (tmp_path / "peers.journal").open("a") as out:
        out.write('{"epoch": "e", "chan')
    again = PeerCache(tmp_path)
    assert again.load() == known
    after = grow(again, known, change(6, "put", "bob"))
    assert PeerCache(tmp_path).load() == after


def test_changes_of_another_epoch_are_not_applied(tmp_path: Path) -> None:
    cache = PeerCache(tmp_path)
    cache.replace(KnownPeers("old", 4))
    grow(cache, KnownPeers("old", 4), change(5))
    (tmp_path / "peers.set").write_text(
        json.dumps({"epoch": "new", "generation": 4, "unreadable": 0, "peers": 0})
    )
    assert PeerCache(tmp_path).load() == KnownPeers("new", 4)


def test_a_long_journal_becomes_a_new_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_cache, "LONGEST_JOURNAL", 3)
    cache = PeerCache(tmp_path)
    cache.replace(KnownPeers("e", 0))
    known = KnownPeers("e", 0)
    for generation in range(1, 6):
        known = grow(cache, known, change(generation))
    assert len((tmp_path / "peers.journal").read_text().splitlines()) <= 3
    assert PeerCache(tmp_path).load() == known


def test_what_was_served_is_read_back(tmp_path: Path) -> None:
    networks = (IPv4Network("10.20.0.0/16"),)
    control = Control((7, 8), 51820, networks, (), IPv4Network("100.96.0.0/16"))
    ServedCache(tmp_path).save((7, 8), control, ("10.20.0.10",), complete=True)
    assert ServedCache(tmp_path).load() == ((7, 8), True, control, ("10.20.0.10",))


def test_without_a_readable_file_nothing_was_served(tmp_path: Path) -> None:
    assert ServedCache(tmp_path).load() == ((), False, None, ())
    (tmp_path / "served.json").write_text("{}")
    assert ServedCache(tmp_path).load() == ((), False, None, ())
