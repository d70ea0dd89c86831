"""The number of nftables' last transaction in this network namespace. An effect.

It tells for the price of one system call that nobody has changed anything since; listing the rules
and thousands of elements costs some hundred milliseconds.
"""

from __future__ import annotations

import socket
import struct

_NETFILTER = 12
_GET, _NEW = 0x0A10, 0x0A0F
"""NFNL_SUBSYS_NFTABLES with NFT_MSG_GETGEN and NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h)."""
_REQUEST = 1
_HEADERS = 20
"""Bytes of netlink's header and nfnetlink's."""
_ATTRIBUTE = 4
_ID = 1
"""NFTA_GEN_ID, a number in network order."""


def generation() -> int:
    """The number. Raises `OSError` when the kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as plug:
        plug.settimeout(2.0)
        plug.bind((0, 0))
        plug.send(struct.pack("=IHHIIBBH", _HEADERS, _GET, _REQUEST, 1, 0, 0, 0, 0))
        answer = plug.recv(4096)
    if len(answer) >= _HEADERS and struct.unpack_from("=H", answer, 4)[0] == _NEW:
        at = _HEADERS
        while at + _ATTRIBUTE <= len(answer):
            size, kind = struct.unpack_from("=HH", answer, at)
            if kind == _ID and size == 2 * _ATTRIBUTE:
                return struct.unpack_from("!I", answer, at + _ATTRIBUTE)[0]
            at += max(_ATTRIBUTE, (size + 3) & ~3)
    raise OSError("nftables does not tell the number of its last transaction")
