"""A config as a QR code, for the WireGuard apps' camera."""

from __future__ import annotations

import io

import segno

WHITE_ON_BLACK, RESET = "\x1b[97;40m", "\x1b[0m"

PNG_SCALE = 6
"""Pixels of a module."""

BORDER = 4
"""Modules of quiet zone, as the standard asks."""


def terminal(text: str, *, colour: bool) -> str:
    """Half blocks, two modules a character, light on dark; `colour` forces that on any terminal."""
    out = io.StringIO()
    _code(text).terminal(out, border=BORDER, compact=True)
    lines = out.getvalue().splitlines()
    if colour:
        lines = [f"{WHITE_ON_BLACK}{line}{RESET}" for line in lines]
    return "\n".join(lines) + "\n"


def png(text: str) -> bytes:
    """A PNG file."""
    out = io.BytesIO()
    _code(text).save(out, kind="png", scale=PNG_SCALE, border=BORDER)
    return out.getvalue()


def _code(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="l")
