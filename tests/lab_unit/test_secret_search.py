"""The search for leaked secrets: it has to find, and must not cry wolf."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest

from lab import secret_search
from lab.secret_search import Blind, Search

SECRET = bytes(range(100, 132))
KEY = base64.b64encode(SECRET)
"""As WireGuard writes it."""


def places(data: bytes) -> set[str]:
    """The forms in which the key is found in `data`."""
    return {one.form for one in Search({"key": KEY}).text(data, "here")}


@pytest.mark.parametrize(
    "data",
    [
        KEY,
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        KEY.hex().encode(),
        base64.urlsafe_b64encode(SECRET),
        gzip.compress(b"user data " + KEY, mtime=0),
        b"\0\0junk" + gzip.compress(gzip.compress(KEY, mtime=0), mtime=0),
        gzip.compress(b"x" * 5000 + SECRET, mtime=0)[:-8],
    ],
)
def test_a_key_is_found_in_every_form(data: bytes) -> None:
    """Also in a stream whose end is missing, as in a log that is being written."""
    assert places(b"before " + data + b" after")


@pytest.mark.parametrize("lead", range(6))
@pytest.mark.parametrize("tail", range(3))
@pytest.mark.parametrize("value", [KEY, SECRET])
def test_a_key_is_found_inside_base64_at_every_alignment(
    lead: int, tail: int, value: bytes
) -> None:
    """User data is base64, and so are many API answers."""
    assert places(base64.b64encode(b"#" * lead + value + b"~" * tail))


def test_nothing_is_found_where_nothing_is() -> None:
    """Another key, the public one, half the key."""
    other = base64.b64encode(bytes(range(32)))
    assert places(other + b" " + KEY[:20] + b" " + gzip.compress(other)) == set()


def test_a_finding_names_the_secret_and_the_place_and_never_shows_it(tmp_path: Path) -> None:
    """A test's output is read by many."""
    (tmp_path / "log").write_bytes(b"key " + KEY)
    found = list(Search({"generation 1": KEY}).files([tmp_path]))
    assert [(one.secret, Path(one.place).name) for one in found] == [("generation 1", "log")]
    assert KEY.decode() not in repr(found)


def test_files_that_may_hold_secrets_are_left_out(tmp_path: Path) -> None:
    """A file, or a directory with all that is in it."""
    for name in ("keys/1", "alice.conf", "else"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(KEY)
    allowed = [tmp_path / "keys", tmp_path / "alice.conf"]
    found = list(Search({"key": KEY}).files([tmp_path], leave_out=allowed))
    assert [Path(one.place).name for one in found] == ["else"]


def test_a_file_named_for_a_secret_is_found(tmp_path: Path) -> None:
    """Names are seen by everybody."""
    (tmp_path / SECRET.hex()).write_text("")
    assert list(Search({"key": KEY}).files([tmp_path]))


def test_a_secret_too_short_to_mean_anything_is_refused() -> None:
    """It would be found by chance."""
    with pytest.raises(ValueError, match="too short"):
        Search({"pin": b"1234"})


def test_the_planted_secret_is_found(tmp_path: Path) -> None:
    """And nothing of it stays."""
    secret_search.planted(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_blind_search_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that opens no stream."""
    monkeypatch.setattr(secret_search, "streams", lambda _: iter(()))
    with pytest.raises(Blind, match="gzip"):
        secret_search.planted(tmp_path)
