"""Requests put together from packets."""

from __future__ import annotations

import json
import struct
from ipaddress import IPv4Address

import pytest

from bench.command import NotMeasured
from bench.reads import Call
from bench.tap import CLOUD, EARLY, Stream, Tap, call_of, header, segment_of

BODY = json.dumps({"TableName": "t"}).encode()
REQUEST = (
    b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810.Query\r\n"
    b"content-length: " + str(len(BODY)).encode() + b"\r\n\r\n" + BODY
)


def packet(
    data: bytes,
    *,
    sequence: int = 77,
    protocol: int = 6,
    to: IPv4Address = CLOUD,
    port: int = 80,
    flags: int = 0,
) -> bytes:
    """An IPv4 packet with a TCP segment that has options."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + 24 + len(data), 0, 0, 64, protocol, 0)
    addresses = IPv4Address("10.20.0.9").packed + to.packed
    tcp = struct.pack("!HHIIBBHHH", 40000, port, sequence, 0, 6 << 4, flags, 0, 0, 0) + bytes(4)
    return head + addresses + tcp + data


def test_a_request_in_pieces_is_one_request() -> None:
    stream = Stream()
    assert stream.feed(100, REQUEST[:30]) == []
    assert stream.feed(130, REQUEST[30:-5]) == []
    ((head, body),) = stream.feed(100 + len(REQUEST) - 5, REQUEST[-5:])
    assert body == BODY
    assert call_of(head, body) == Call("Query", {"TableName": "t"})


def test_two_requests_in_a_piece_are_two() -> None:
    assert len(Stream().feed(1, REQUEST * 2)) == 2


def test_what_comes_twice_counts_once() -> None:
    stream = Stream()
    assert len(stream.feed(1, REQUEST)) == 1
    assert stream.feed(1, REQUEST) == []
    assert len(stream.feed(1 + len(REQUEST) - 4, REQUEST[-4:] + REQUEST)) == 1


def test_numbers_begin_again_after_the_largest() -> None:
    stream, first = Stream(), (1 << 32) - 10
    assert stream.feed(first, REQUEST[:10]) == []
    assert len(stream.feed(0, REQUEST[10:])) == 1


def test_pieces_in_another_order_are_the_same_request() -> None:
    stream = Stream()
    stream.feed(1, REQUEST)
    second = 1 + len(REQUEST)
    assert stream.feed(second + 50, REQUEST[50:]) == []
    assert stream.feed(second + 20, REQUEST[20:50]) == []
    assert len(stream.feed(second, REQUEST[:20])) == 1
    assert not stream.early


def test_a_piece_that_never_comes_is_said() -> None:
    tap = Tap()
    for start in (0, 30, 60):
        tap.take(packet(REQUEST[:30], sequence=start) if start != 30 else packet(b""))
    with pytest.raises(NotMeasured, match="missed"):
        tap.check()


def test_nothing_is_awaited_for_ever() -> None:
    stream = Stream()
    stream.feed(1, REQUEST)
    for number in range(EARLY):
        stream.feed(10_000 + number, b"x")
    with pytest.raises(NotMeasured, match="missed"):
        stream.feed(10_000 + EARLY, b"x")


def test_a_port_that_is_used_again_is_another_connection() -> None:
    tap = Tap()
    tap.take(packet(REQUEST, sequence=77))
    tap.take(packet(b"", sequence=5_000_000, flags=0x02))
    tap.take(packet(REQUEST, sequence=5_000_001))
    tap.check()
    assert len(tap.heard) == 2
    assert tap.heard[0].gateway == IPv4Address("10.20.0.9")


def test_listening_begins_with_a_whole_request() -> None:
    stream = Stream()
    assert stream.feed(1, BODY) == []
    assert len(stream.feed(500, REQUEST)) == 1


def test_headers_are_found_whatever_their_case() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length:  12\r\nx: y"
    assert (header(head, b"content-length"), header(head, b"z")) == (b"12", b"")


def test_a_call_of_another_service_is_none() -> None:
    assert call_of(b"POST / HTTP/1.1\r\nHost: x", b"Action=Describe") is None


def test_only_data_on_its_way_to_the_cloud_is_a_segment() -> None:
    source = IPv4Address("10.20.0.9")
    assert segment_of(packet(b"hello")) == (source, 40000, 77, False, b"hello")
    assert segment_of(packet(b"", flags=0x02)) == (source, 40000, 77, True, b"")
    assert segment_of(packet(b"hello") + b"padding")[4] == b"hello"  # ty: ignore[not-subscriptable]
    assert segment_of(packet(b"")) is None
    assert segment_of(packet(b"x", protocol=17)) is None
    assert segment_of(packet(b"x", port=443)) is None
    assert segment_of(packet(b"x", to=IPv4Address("10.0.0.1"))) is None
