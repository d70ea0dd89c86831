"""A TCP relay from one network namespace's loopback into another's, which a test can cut."""

from __future__ import annotations

import contextlib
import socket
import threading

from lab.netns import inside


class Relay:
    """Listens on 127.0.0.1:PORT in `where` and connects to the same of `there`, port `to`."""

    def __init__(self, where: str, port: int, there: str, to: int) -> None:
        self._there, self._to = there, to
        self._up = True
        self._open: set[socket.socket] = set()
        with inside(where):
            self._listening = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection and take no new one."""
        self._up = False
        for plug in list(self._open):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Relay again."""
        self._up = True

    def close(self) -> None:
        """For good."""
        self.cut()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if not self._up:
                return
            with inside(self._there):
                far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            with far:
                far.settimeout(None)
                self._open |= {near, far}
                back = threading.Thread(target=pump, args=(far, near), daemon=True)
                back.start()
                pump(near, far)
                back.join()
                self._open -= {near, far}


def pump(one: socket.socket, other: socket.socket) -> None:
    """Copy until the end."""
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for plug in (one, other):
        with contextlib.suppress(OSError):
            plug.shutdown(socket.SHUT_RDWR)
