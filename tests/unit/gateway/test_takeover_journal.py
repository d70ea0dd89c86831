"""What gateways tell each other about sessions, and how all of it gets there."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address

import pytest

from gateway.takeover import words
from gateway.takeover.journal import PART, Follower, Journal, Part
from gateway.takeover.packets import Endpoint
from gateway.takeover.recipients import PeerId
from gateway.takeover.sessions import LIFETIME, Claim, Place, Session

NOW = 1_800_000_000_000
WHERE = Endpoint(IPv4Address("198.51.100.7"), 40001)


def session(index: int, peer: int = 1, slot: int = 0, where: Endpoint | None = WHERE) -> Session:
    return Session(slot, index, PeerId(bytes([peer]) * 16), "i-1", NOW, where)


def claim(peer: int, order: int) -> Claim:
    return Claim(Place(1, PeerId(bytes([peer]) * 16)), "i-1", order)


def test_what_is_packed_is_unpacked() -> None:
    part = Part(2**63, 5, 9, (session(0xFFFFFFFF, slot=1), claim(7, NOW), session(1, where=None)))
    assert words.unpack_part(words.pack_part(part), "i-1") == part
    assert words.unpack_facts(words.pack_facts(part.facts), "i-1") == part.facts
    assert words.unpack_wish(words.pack_wish(2**63, 17)) == (2**63, 17)


def test_who_speaks_is_whom_it_is_about() -> None:
    (told,) = words.unpack_part(words.pack_part(Part(1, 0, 1, (session(1),))), "i-2").facts
    assert told.holder == "i-2"


def test_an_endpoint_that_is_not_ipv4_is_left_out() -> None:
    six = session(1, where=Endpoint(IPv6Address("2001:db8::1"), 5))
    (told,) = words.unpack_facts(words.pack_facts([six]), "i-1")
    assert isinstance(told, Session)
    assert told.endpoint is None


def test_a_full_part_fits_into_a_datagram() -> None:
    part = Part(1, 0, PART, tuple(session(number) for number in range(PART)))
    assert len(words.pack_part(part)) + 160 <= 1200


def test_a_body_that_does_not_fit_is_refused() -> None:
    whole = words.pack_part(Part(1, 2, 3, (session(1), claim(1, 1))))
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="short"):
            words.unpack_part(whole[:end], "i-1")
    with pytest.raises(ValueError, match="long"):
        words.unpack_part(whole + b"x", "i-1")
    with pytest.raises(ValueError, match="slot 9"):
        words.unpack_facts(words.pack_facts([session(1, slot=9)]), "i-1")
    with pytest.raises(ValueError, match="kind of fact 7"):
        words.unpack_facts(b"\x00\x01\x07" + words.pack_facts([claim(1, 1)])[3:], "i-1")
    with pytest.raises(ValueError, match="ends before it begins"):
        words.unpack_part(words.pack_part(Part(1, 4, 3)), "i-1")


def test_news_is_told_once_and_anything_again_on_request() -> None:
    journal = Journal(1)
    assert journal.news() == []
    for index in range(PART + 5):
        journal.note(session(index), NOW)
    first, second = journal.news()
    assert (first.after, first.upto, len(first.facts)) == (0, PART, PART)
    assert (second.after, second.upto, len(second.facts)) == (PART, PART + 5, 5)
    assert journal.news() == []
    assert journal.beat() == Part(1, PART + 5, PART + 5)
    (late,) = journal.since(PART + 3)
    assert [fact.index for fact in late.facts if isinstance(fact, Session)] == [PART + 3, PART + 4]
    assert list(journal.since(PART + 5)) == [journal.beat()]
    assert list(journal.since(10**6)) == [journal.beat()], "of another journal of that name"


def test_a_later_word_on_the_same_thing_takes_the_earlier_ones_place() -> None:
    journal = Journal(1)
    journal.note(claim(1, 5), NOW)
    journal.note(session(1), NOW)
    journal.note(claim(1, 8), NOW)
    (part,) = journal.since(0)
    assert part == Part(1, 0, 3, (session(1), claim(1, 8)))


def test_what_is_over_leaves_no_gap() -> None:
    journal = Journal(1)
    journal.note(session(1), NOW)
    journal.note(claim(1, 5), NOW)
    journal.note(claim(2, 5), NOW)
    journal.note(session(2), NOW + LIFETIME)
    journal.expire(NOW + LIFETIME)
    assert [len(part.facts) for part in journal.since(0)] == [4]
    journal.expire(NOW + LIFETIME + 1, keep=frozenset({claim(2, 5).place}))
    (part,) = journal.since(0)
    assert part == Part(1, 0, 4, (claim(2, 5), session(2)))
    follower = Follower()
    follower.take(part)
    assert (follower.upto, follower.behind) == (4, False)


def test_a_gap_is_noticed_and_filled() -> None:
    follower = Follower()
    assert follower.take(Part(1, 0, 2)) is True
    assert follower.take(Part(1, 3, 4)) is False
    assert (follower.behind, follower.upto) == (True, 2)
    follower.take(Part(1, 2, 4))
    assert (follower.behind, follower.upto) == (False, 4)
    follower.take(Part(1, 0, 2))
    assert follower.upto == 4, "an old part again"
    assert follower.take(Part(2, 7, 7)) is True, "the agent there has been started again"
    assert (follower.behind, follower.upto) == (True, 0)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_or_overtaken_all_arrives_in_the_end(seed: int) -> None:
    chance, journal, follower = random.Random(seed), Journal(9), Follower()  # noqa: S311
    have: set[object] = set()
    under_way: list[Part] = []

    def deliver() -> None:
        chance.shuffle(under_way)
        while under_way:
            part = under_way.pop()
            if chance.random() < 0.6:
                have.update(part.facts)
                follower.take(part)

    for index in range(300):
        journal.note(session(index) if chance.random() < 0.7 else claim(index % 7, index), NOW)
        if chance.random() < 0.3:
            under_way += journal.news()
        if chance.random() < 0.1:
            deliver()
    under_way += journal.news()
    for _ in range(200):
        deliver()
        under_way.append(journal.beat())
        if follower.behind or follower.journal == 0:
            under_way += journal.since(follower.upto)
    (*parts,) = journal.since(0)
    assert {fact for part in parts for fact in part.facts} <= have
    assert follower.upto == parts[-1].upto
