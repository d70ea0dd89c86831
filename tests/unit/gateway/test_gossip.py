"""Datagrams between gateways: which count, which do not, and what each side still lacks."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from gateway import gossip, wire
from gateway.gossip import (
    FORGED,
    GARBLED,
    LARGEST,
    LATE,
    LIMIT,
    MOST_AT_ONCE,
    REPLAYED,
    STALE,
    WINDOW,
    Applied,
    Changes,
    Frame,
    Guard,
    Kind,
    Refused,
    lacking,
    pack_changes,
    seal,
    unseal,
)
from registry.items import Change, Peer

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = 1_800_000_000.0
FRAME = Frame(
    kind=Kind.APPLIED, sender="i-1", boot="b-1", number=7, sent=int(NOW * 1000), body=b"body"
)
PUBLIC = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def change(number: int, kind: str = "put", allow: tuple[str, ...] = ()) -> Change:
    peer = Peer(f"p{number}", PUBLIC, IPv4Address("100.96.0.9"), "o@e", "2026", 99, allow, number)
    return Change(number, "put" if kind == "put" else "remove", peer, "2026-01-01T00:00:00Z")


# ------------------------------------------------------------------ frames


def test_a_frame_comes_out_as_it_went_in() -> None:
    assert unseal(KEY, seal(KEY, FRAME)) == FRAME


def test_what_was_signed_with_another_key_is_forged() -> None:
    with pytest.raises(Refused, match=FORGED):
        unseal(OTHER, seal(KEY, FRAME))


def test_any_single_bit_that_was_changed_is_noticed() -> None:
    datagram = seal(KEY, FRAME)
    for at in range(len(datagram)):
        broken = bytearray(datagram)
        broken[at] ^= 1
        with pytest.raises(Refused, match=FORGED):
            unseal(KEY, bytes(broken))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 40])
def test_a_datagram_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(Refused):
        unseal(KEY, seal(KEY, FRAME)[:size])


def test_a_genuine_signature_on_something_else_is_garbled() -> None:
    for message in (b"", b"gpg1", b"other-protocol-entirely-with-some-length"):
        with pytest.raises(Refused, match=GARBLED):
            unseal(KEY, message + gossip._tag(KEY, message))


# ------------------------------------------------------------------ what is new


def later(number: int, **changes: object) -> Frame:
    return replace(FRAME, number=number, **changes)


def test_each_frame_counts_once() -> None:
    guard = Guard()
    guard.admit(FRAME, NOW)
    with pytest.raises(Refused, match=REPLAYED):
        guard.admit(FRAME, NOW)
    guard.admit(later(8), NOW)
    with pytest.raises(Refused, match=REPLAYED):
        guard.admit(later(8), NOW)


def test_a_frame_that_was_overtaken_still_counts_once() -> None:
    guard = Guard()
    for number in (10, 13, 11, 12):
        guard.admit(later(number), NOW)
    for number in (10, 11, 12, 13):
        with pytest.raises(Refused, match=REPLAYED):
            guard.admit(later(number), NOW)


def test_a_frame_from_too_far_back_does_not_count() -> None:
    guard = Guard()
    guard.admit(later(1000), NOW)
    guard.admit(later(1000 - LATE + 1), NOW)
    with pytest.raises(Refused, match=REPLAYED):
        guard.admit(later(1000 - LATE), NOW)


def test_a_jump_ahead_forgets_what_was_missing_before_it() -> None:
    guard = Guard()
    guard.admit(later(5), NOW)
    guard.admit(later(5 + 10 * LATE), NOW)
    with pytest.raises(Refused, match=REPLAYED):
        guard.admit(later(6), NOW)
    guard.admit(later(5 + 10 * LATE - 1), NOW)


@pytest.mark.parametrize(
    ("offset", "good"), [(0, True), (29, True), (-29, True), (31, False), (-31, False)]
)
def test_only_frames_of_about_now_count(offset: float, good: bool) -> None:
    frame = later(1, sent=int((NOW + offset) * 1000))
    if good:
        Guard().admit(frame, NOW)
    else:
        with pytest.raises(Refused, match=STALE):
            Guard().admit(frame, NOW)
    assert WINDOW == 30


def test_a_reboot_starts_the_numbers_anew_and_the_boot_before_is_over() -> None:
    guard = Guard()
    guard.admit(later(900), NOW)
    guard.admit(later(1, boot="b-2", sent=FRAME.sent + 1), NOW)
    with pytest.raises(Refused, match=REPLAYED):
        guard.admit(later(901, sent=FRAME.sent + 2), NOW)
    guard.admit(later(2, boot="b-2", sent=FRAME.sent + 3), NOW)


def test_another_boot_that_is_not_later_is_a_replay() -> None:
    guard = Guard()
    guard.admit(later(1), NOW)
    with pytest.raises(Refused, match=REPLAYED):
        guard.admit(later(99, boot="b-0", sent=FRAME.sent), NOW)


def test_senders_do_not_disturb_each_other_and_silent_ones_are_forgotten() -> None:
    guard = Guard()
    guard.admit(FRAME, NOW)
    guard.admit(replace(FRAME, sender="i-2"), NOW)
    much_later = NOW + gossip.REMEMBER + 1
    guard.admit(replace(FRAME, sender="i-2", sent=int(much_later * 1000), number=8), much_later)
    assert list(guard._senders) == ["i-2"]
    with pytest.raises(Refused, match=STALE):
        guard.admit(FRAME, much_later)


# ------------------------------------------------------------------ bodies


def test_an_acknowledgement_comes_out_as_it_went_in() -> None:
    applied = Applied("an-epoch", 2**40)
    assert Applied.unpack(applied.pack()) == applied
    for broken in (b"", applied.pack()[:-1], applied.pack() + b"x"):
        with pytest.raises(ValueError):  # noqa: PT011 - any will do
            Applied.unpack(broken)


def test_changes_come_out_as_they_went_in() -> None:
    changes = (change(1), change(2, "remove", ("10.0.0.0/8:tcp/1",)))
    (body,) = pack_changes("e", changes)
    assert Changes.unpack(body) == Changes("e", changes)
    for broken in (b"", body[:-1], body + b"x", body.replace(b"100.96.0.9", b"100.96.0.x")):
        with pytest.raises(ValueError):  # noqa: PT011 - any will do
            Changes.unpack(broken)


def test_many_changes_go_in_datagrams_that_fit_and_in_order() -> None:
    changes = [change(number) for number in range(1, 51)]
    bodies = list(pack_changes("epoch", changes))
    assert len(bodies) > 1
    frames = [replace(FRAME, sender="i-" + "0" * 17, boot="b" * 36, body=body) for body in bodies]
    assert max(len(seal(KEY, frame)) for frame in frames) <= LIMIT
    assert [one for body in bodies for one in Changes.unpack(body).changes] == changes


def test_a_large_change_goes_alone_and_one_that_fits_nowhere_ends_it() -> None:
    large = change(2, allow=tuple(f"10.0.{n}.0/24:tcp/5432" for n in range(100)))
    bodies = list(pack_changes("e", (change(1), large, change(3))))
    assert [[c.generation for c in Changes.unpack(body).changes] for body in bodies] == [
        [1],
        [2],
        [3],
    ]
    assert max(map(len, bodies)) < LARGEST
    monster = change(2, allow=tuple(f"10.0.0.{n % 256}/32:tcp/{n}" for n in range(1000)))
    (only,) = pack_changes("e", (change(1), monster, change(3)))
    assert Changes.unpack(only).changes == (change(1),)


def test_an_attribute_of_a_later_version_passes_through() -> None:
    item = {"new": {"L": [{"BOOL": True}, {"BOOL": False}, {"M": {"x": {"N": "1"}}}]}}
    reader = wire.Reader(wire.pack(item))
    assert wire.unpack(reader) == item
    reader.end()


def test_a_body_that_is_nested_without_end_is_refused() -> None:
    deep: dict = {"S": "x"}
    for _ in range(20):
        deep = {"L": [deep]}
    with pytest.raises(ValueError, match="deep"):
        wire.unpack(wire.Reader(wire.pack({"a": deep})))


# ------------------------------------------------------------------ who lacks what


RECENT = [change(number) for number in range(11, 16)]


@pytest.mark.parametrize(
    ("other", "lacks"),
    [
        (Applied("e", 15), []),
        (Applied("e", 99), []),
        (Applied("e", 14), [15]),
        (Applied("e", 10), [11, 12, 13, 14, 15]),
        (Applied("e", 9), []),
        (Applied("f", 12), []),
    ],
)
def test_another_gateway_is_sent_just_what_follows_its_own(
    other: Applied, lacks: list[int]
) -> None:
    assert [one.generation for one in lacking(RECENT, "e", other)] == lacks


def test_what_is_sent_at_once_is_bounded() -> None:
    recent = [change(number) for number in range(1, 1001)]
    assert len(lacking(recent, "e", Applied("e", 0))) == MOST_AT_ONCE
    assert lacking((), "e", Applied("e", 0)) == ()
