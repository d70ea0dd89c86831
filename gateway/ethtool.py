"""A network device's own counters, as `ethtool -S` shows them: Debian's images lack that program.

The requests are the kernel's SIOCETHTOOL, in include/uapi/linux/ethtool.h; reading needs no right.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from array import array

_SIOCETHTOOL = 0x8946
_GET_STRINGS, _GET_STATISTICS, _GET_SIZES = 0x1B, 0x1D, 0x37
_STATISTICS_SET = 1
_NAME = 32
"""Bytes of a counter's name, padded with zeros."""
_IFREQ = struct.Struct("16sP16x")
_SIZES = struct.Struct("=IIQI")
_HEAD = struct.Struct("=III")
_VALUES_HEAD = struct.Struct("=II")


def statistics(device: str) -> dict[str, int]:
    """The device's counters by name; empty when its driver has none. Raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sizes = _ask(sock, device, _SIZES.pack(_GET_SIZES, 0, 1 << _STATISTICS_SET, 0))
            *_, count = _SIZES.unpack(sizes)
            names = _HEAD.pack(_GET_STRINGS, _STATISTICS_SET, count) + bytes(_NAME * count)
            values = _VALUES_HEAD.pack(_GET_STATISTICS, count) + bytes(8 * count)
            return parse(_ask(sock, device, names), _ask(sock, device, values))
        except OSError as err:
            if err.errno == errno.EOPNOTSUPP:  # its driver counts nothing
                return {}
            raise


def parse(names: bytes, values: bytes) -> dict[str, int]:
    """Counters from the kernel's two answers. Pure."""
    *_, count = _HEAD.unpack_from(names)
    numbers = struct.unpack_from(f"={count}Q", values, _VALUES_HEAD.size)
    starts = range(_HEAD.size, _HEAD.size + _NAME * count, _NAME)
    texts = (names[at : at + _NAME].partition(b"\0")[0].decode(errors="replace") for at in starts)
    return dict(zip(texts, numbers, strict=True))


def _ask(sock: socket.socket, device: str, request: bytes) -> bytes:
    """The kernel answers in the memory of the request."""
    memory = array("B", request)
    address, _ = memory.buffer_info()
    fcntl.ioctl(sock, _SIOCETHTOOL, _IFREQ.pack(device.encode(), address))
    return memory.tobytes()
