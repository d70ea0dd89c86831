"""The packets of the live traffic, and the record that its process writes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bench.traffic import HEARD, RECORD, SENT, Flow, Recording, answer, checksum, request

if TYPE_CHECKING:
    from pathlib import Path

FLOWS = [Flow("a", "gp-c-a", "10.0.0.1", 0.01), Flow("b", "gp-c-b", "10.0.0.1", 0.01)]
IP = bytes([0x45]) + bytes(19)
IP_WITH_OPTIONS = bytes([0x46]) + bytes(23)


def reply(flow: int, number: int) -> bytes:
    """What a host answers: the same, of type 0."""
    return b"\0" + request(flow, number)[1:]


def test_a_request_has_the_checksum_that_its_receiver_wants() -> None:
    # RFC 1071: over the whole message, its checksum included, the sum is zero
    assert checksum(request(3, 70_000)) == 0


def test_the_checksum_folds_every_carry() -> None:
    assert checksum(b"\xff\xff" * 3 + b"\x00\x01") == 0xFFFE


def test_an_answer_names_its_probe_beyond_sixteen_bits() -> None:
    assert answer(IP + reply(3, 70_000), 3) == 70_000
    assert answer(IP_WITH_OPTIONS + reply(3, 9), 3) == 9


def test_what_is_no_answer_of_this_flow_is_passed_over() -> None:
    assert answer(IP + reply(3, 9), 4) is None
    assert answer(IP + request(3, 9), 3) is None
    assert answer(IP + reply(3, 9)[:-1], 3) is None
    assert answer(IP + b"\0" * 8 + b"somebody" + struct.pack("!IH", 9, 3), 3) is None
    assert answer(b"", 3) is None


def test_the_record_is_read_as_it_grows_also_in_the_middle_of_an_entry(tmp_path: Path) -> None:
    file = tmp_path / "pings"
    whole = b"".join(
        RECORD.pack(*entry)
        for entry in [(0, SENT, 0, 1.0), (1, SENT, 0, 1.5), (0, HEARD, 0, 1.25), (0, SENT, 1, 2.0)]
    )
    recording = Recording(file, FLOWS)
    for cut in (RECORD.size + 3, 3 * RECORD.size - 1, len(whole)):
        file.write_bytes(whole[:cut])
        recording.refresh()
    assert recording.flows["a"].sent == [1.0, 2.0]
    assert recording.flows["a"].answered == {0: 1.25}
    assert recording.flows["b"].sent == [1.5]
    recording.refresh()
    assert recording.flows["a"].sent == [1.0, 2.0], "nothing is read twice"
