"""Connection tracking's own reports: plain netlink sockets. Effects.

Events are lost rather than waited for: with NETLINK_BROADCAST_SEND_ERROR the kernel would keep what
it cannot report in its table, and a flood would fill it. It counts what it has dropped.
"""

from __future__ import annotations

import errno
import socket
import struct
from array import array
from typing import TYPE_CHECKING

from gateway.connections import events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network

_NETFILTER = 12
_DESTROYED = 1 << 2
"""Group NFNLGRP_CONNTRACK_DESTROY, the third, as bind() takes it."""
_REQUEST_DUMP = 0x301
_IPV4 = 2
_RCVBUFFORCE, _ATTACH_FILTER, _MEMINFO = 33, 26, 55
_DROPS, _MEMINFO_WORDS = 8, 9
"""linux/sock_diag.h: SK_MEMINFO_DROPS of SK_MEMINFO_VARS."""
BUFFER = 8 << 20
"""Bytes of events that may wait: some thirteen thousand, by what the kernel counts for each."""
_AT_ONCE = 512
_LONGEST = 1 << 17

_LOAD, _LOAD_X, _STORE, _AND, _TO_X = 0x00, 0x01, 0x02, 0x54, 0x07
_AT_X, _EXTENSION, _MEMORY = 0x40, 0x20, 0x60
_IF_EQUAL, _RETURN = 0x15, 0x06
_FIND, _FIND_NESTED = 0xFFFFF00C, 0xFFFFF010
"""linux/filter.h: SKF_AD_OFF + SKF_AD_NLATTR and + SKF_AD_NLATTR_NEST: from the attribute at A (or
in it) to the one of type X; 0 if there is none."""
_REJECT, _ACCEPT = 23, 24
"""Steps of the program below: jumps count from the step behind them."""


def only_of(pool: IPv4Network) -> bytes:
    """A classic BPF program that passes events of the pool's connections and no other. Pure.

    Most that a gateway tracks is WireGuard's own packets, also strangers': what is not a client's
    never wakes this process.
    """
    base, mask = int(pool.network_address), int(pool.netmask)
    program: list[tuple[int, int, int, int]] = []

    def add(code: int, value: int = 0, yes: int = 0, no: int = 0) -> None:
        program.append((code, yes, no, value))

    def reject_if_none() -> None:
        add(_IF_EQUAL, 0, yes=_REJECT - len(program) - 1)

    add(_LOAD, events.HEADERS)
    add(_LOAD_X, events.TUPLE)
    add(_LOAD | _EXTENSION, _FIND)
    reject_if_none()
    add(_LOAD_X, events.TUPLE_IP)
    add(_LOAD | _EXTENSION, _FIND_NESTED)
    reject_if_none()
    add(_STORE)
    for which in (events.IP_SOURCE, events.IP_DESTINATION):
        if which == events.IP_DESTINATION:
            add(_LOAD | _MEMORY)
        add(_LOAD_X, which)
        add(_LOAD | _EXTENSION, _FIND_NESTED)
        reject_if_none()
        add(_TO_X)
        add(_LOAD | _AT_X, events.ATTRIBUTE)
        add(_AND, mask)
        add(_IF_EQUAL, base, yes=_ACCEPT - len(program) - 1)
    add(_RETURN, 0)  # step _REJECT
    add(_RETURN, 0xFFFFFFFF)  # step _ACCEPT
    return b"".join(struct.pack("=HBBI", *step) for step in program)


class Watch:
    """The ends of the pool's connections, as they come."""

    def __init__(self, pool: IPv4Network, buffer: int = BUFFER) -> None:
        """Raises `OSError` when the kernel does not let us."""
        self._plug = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        try:
            self._plug.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, buffer)
            program = array("Q", only_of(pool))
            where, steps = program.buffer_info()
            self._plug.setsockopt(
                socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", steps, where)
            )
            self._plug.bind((0, _DESTROYED))
            self._plug.setblocking(False)
        except BaseException:
            self._plug.close()
            raise

    def fileno(self) -> int:
        """For `select`."""
        return self._plug.fileno()

    def read(self) -> list[bytes]:
        """Bodies of what has come; at most some hundred at once."""
        found: list[bytes] = []
        for _ in range(_AT_ONCE):
            try:
                data = self._plug.recv(_LONGEST)
            except BlockingIOError:
                break
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                continue  # said once for however many; `dropped` counts them
            found += [body for kind, body in events.messages(data) if kind == events.DESTROYED]
        return found

    @property
    def dropped(self) -> int:
        """Events that found the buffer full, since the start."""
        size = 4 * _MEMINFO_WORDS
        words = self._plug.getsockopt(socket.SOL_SOCKET, _MEMINFO, size)
        return struct.unpack_from("=I", words, 4 * _DROPS)[0]

    def close(self) -> None:
        """No more events."""
        self._plug.close()


def listing(protocol: int = 0) -> Iterator[bytes]:
    """Bodies of all that is tracked now, some at a time. Raises `OSError`.

    With a protocol, as IP numbers them, of that alone; kernels before 5.8 list all nevertheless.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as plug:
        plug.settimeout(5.0)
        plug.bind((0, 0))
        body = struct.pack("!BBH", _IPV4, 0, 0) + (events.only(protocol) if protocol else b"")
        size = events.HEADER + len(body)
        plug.send(struct.pack("=IHHII", size, events.GET, _REQUEST_DUMP, 1, 0) + body)
        while True:
            for kind, found in events.messages(plug.recv(_LONGEST)):
                if kind == events.DONE:
                    return
                if kind == events.ERROR:
                    code = struct.unpack_from("=i", found)[0]
                    raise OSError(-code, "conntrack listing")
                if kind == events.ENTRY:
                    yield found
