"""Packets that nftables hands over by `log group`: a plain netlink socket. Effects.

linux/netfilter/nfnetlink_log.h and nfnetlink.h.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETFILTER = 12
_PACKET, _CONFIG = 0x0400, 0x0401
"""NFNL_SUBSYS_ULOG with NFULNL_MSG_PACKET and NFULNL_MSG_CONFIG."""
_ERROR = 2
_REQUEST_ACK = 5
_HEADER, _HEADERS, _ATTRIBUTE = 16, 20, 4
_CMD, _MODE, _THRESHOLD = 1, 2, 5
_BIND = b"\x01"
_COPY_PACKET = 2
_PAYLOAD = 9
_TYPE = 0x3FFF
_RCVBUFFORCE = 33
_BUFFER = 4 << 20
_AT_ONCE = 256
_LONGEST = 65536


def _align(size: int) -> int:
    return (size + 3) & ~3


def packets(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Group and packet of everything in one read from the socket. Pure."""
    at = 0
    while at + _HEADERS <= len(message):
        size, kind = struct.unpack_from("=IH", message, at)
        if size < _HEADER or at + size > len(message):
            return
        if kind == _PACKET:
            group = struct.unpack_from("!H", message, at + _HEADER + 2)[0]
            inner, end = at + _HEADERS, at + size
            while inner + _ATTRIBUTE <= end:
                length, name = struct.unpack_from("=HH", message, inner)
                if length < _ATTRIBUTE:
                    break
                if name & _TYPE == _PAYLOAD:
                    yield group, message[inner + _ATTRIBUTE : inner + length]
                inner += _align(length)
        at += _align(size)


class Nflog:
    """Reads some groups; other readers of the same group are refused by the kernel."""

    def __init__(self, groups: tuple[int, ...], copy: int = 256) -> None:
        """Raises `OSError` when the kernel does not give us the groups."""
        self._plug = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        try:
            for option in (_RCVBUFFORCE, socket.SO_RCVBUF):
                with contextlib.suppress(OSError):
                    self._plug.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
                    break
            self._plug.settimeout(2.0)
            self._plug.bind((0, 0))
            for group in groups:
                self._configure(group, (_CMD, _BIND))
                # at once, not when a buffer is full or a second has passed
                self._configure(
                    group,
                    (_MODE, struct.pack("!IBB", copy, _COPY_PACKET, 0)),
                    (_THRESHOLD, struct.pack("!I", 1)),
                )
            self._plug.setblocking(False)
        except BaseException:
            self._plug.close()
            raise
        self.lost = 0
        """Times the kernel had more to tell than the buffer holds."""

    def fileno(self) -> int:
        """For `select`."""
        return self._plug.fileno()

    def read(self) -> list[tuple[int, bytes]]:
        """Group and packet of what has come; at most some hundred at once."""
        found: list[tuple[int, bytes]] = []
        for _ in range(_AT_ONCE):
            try:
                found += packets(self._plug.recv(_LONGEST))
            except BlockingIOError:
                break
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
        return found

    def close(self) -> None:
        """Give the groups back."""
        self._plug.close()

    def _configure(self, group: int, *attributes: tuple[int, bytes]) -> None:
        body = struct.pack("!BBH", 0, 0, group)
        for name, value in attributes:
            head = struct.pack("=HH", _ATTRIBUTE + len(value), name)
            body += head + value + bytes(_align(len(value)) - len(value))
        self._plug.send(
            struct.pack("=IHHII", _HEADER + len(body), _CONFIG, _REQUEST_ACK, 1, 0) + body
        )
        # packets of a group that is bound already may come before the answer; they are lost
        while True:
            answer = self._plug.recv(_LONGEST)
            if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
                code = struct.unpack_from("=i", answer, _HEADER)[0]
                if code:
                    raise OSError(-code, f"nflog group {group}")
                return
