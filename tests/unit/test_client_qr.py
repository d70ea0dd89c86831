"""The QR code on the screen and in the picture is the code of the text, dot by dot."""

from __future__ import annotations

import struct
import zlib

import pytest
import segno

from client import qr

TEXT = "[Interface]\nPrivateKey = abc\nAddress = 100.96.0.9/32\n"
FULL, UPPER, LOWER, BLANK = "█▀▄ "


def code(text: str) -> list[list[bool]]:
    """The code's modules, dark is true, with its quiet zone."""
    made = segno.make_qr(text, error="l")
    return [[bool(module) for module in row] for row in made.matrix_iter(border=qr.BORDER)]


def from_terminal(text: str) -> list[list[bool]]:
    """Two rows of modules from each line of half blocks; a drawn half is light."""
    rows: list[list[bool]] = []
    for line in text.splitlines():
        rows.append([character not in (FULL, UPPER) for character in line])
        rows.append([character not in (FULL, LOWER) for character in line])
    return rows


def from_png(data: bytes) -> list[list[bool]]:
    """One module from each square of a one-bit greyscale or palette picture."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks[data[place + 4 : place + 8]] = data[place + 8 : place + 8 + length]
        place += length + 12
    width, height, depth = struct.unpack(">IIB", chunks[b"IHDR"][:9])
    assert depth == 1
    rows = unfiltered(zlib.decompress(chunks[b"IDAT"]), (width + 7) // 8)
    middle = range(qr.PNG_SCALE // 2, width, qr.PNG_SCALE)
    assert height == width
    return [[not rows[y][x // 8] >> (7 - x % 8) & 1 for x in middle] for y in middle]


def unfiltered(raw: bytes, width: int) -> list[bytes]:
    """Rows of `width` bytes; a row is stored as it is, or as what differs from the one above."""
    rows = [bytes(width)]
    for start in range(0, len(raw), width + 1):
        kind, row = raw[start], raw[start + 1 : start + 1 + width]
        assert kind in (0, 2)
        above = rows[-1] if kind else bytes(width)
        rows.append(bytes((one + other) % 256 for one, other in zip(row, above, strict=True)))
    return rows[1:]


@pytest.mark.parametrize("text", [TEXT, TEXT * 6])
def test_the_terminal_shows_the_code_light_on_dark(text: str) -> None:
    shown = from_terminal(qr.terminal(text, colour=False))
    wanted = code(text)
    assert shown[: len(wanted)] == wanted
    assert len(shown) - len(wanted) <= 1


def test_colours_are_set_on_every_line_and_taken_back() -> None:
    plain = qr.terminal(TEXT, colour=False).splitlines()
    coloured = qr.terminal(TEXT, colour=True).splitlines()
    assert coloured == [f"{qr.WHITE_ON_BLACK}{line}{qr.RESET}" for line in plain]


@pytest.mark.parametrize("text", [TEXT, TEXT * 6])
def test_the_picture_holds_the_code(text: str) -> None:
    assert from_png(qr.png(text)) == code(text)


def test_a_whole_config_fits_a_terminal_of_80_columns() -> None:
    config = "x" * 330
    assert max(map(len, qr.terminal(config, colour=False).splitlines())) <= 80
