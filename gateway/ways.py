"""By which gateway each client is reached whose session another one holds. Pure but for its memory.

Ten thousand clients are ten thousand routes; what one client's move costs grows with the move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.forwarding import NO_ROUTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from gateway.forwarding import Routes
    from gateway.takeover.hub import SessionsView


class _From(NamedTuple):
    """What routes were made from."""

    view: SessionsView
    admitted: Mapping[str, IPv4Address]
    gateways: frozenset[IPv4Address]


class Ways:
    """Gives the same mapping until another one is due."""

    def __init__(self) -> None:
        self._from: _From | None = None
        self._routes: Routes = NO_ROUTES

    def routes(
        self,
        view: SessionsView,
        admitted: Mapping[str, IPv4Address],
        gateways: frozenset[IPv4Address],
        there: Routes,
    ) -> Routes:
        """The routes, to these gateways only, of those who are admitted (public key -> address).

        `there`: those in the kernel. Those of before the agent's start stay until the others have
        told all they know, unless the client has come here since.
        """
        before, now = self._from, _From(view, admitted, gateways)
        if before is None or not _only_moves(before, now):
            self._routes = _all(now, there)
        elif before.view.elsewhere is not view.elsewhere:
            self._routes = _moved(before, now, self._routes)
        self._from = now
        return self._routes


def _only_moves(before: _From, now: _From) -> bool:
    """Whether nothing but owners has changed, if that."""
    settled = now.view.in_step or before.view.holding == now.view.holding
    return (
        before.admitted is now.admitted
        and before.gateways == now.gateways
        and before.view.in_step == now.view.in_step
        and settled
    )


def _all(now: _From, there: Routes) -> Routes:
    view, admitted = now.view, now.admitted
    found: dict[str, str] = {}
    if not view.in_step:
        here = {admitted.get(public_key) for _interface, public_key in view.holding}
        clients = {str(client) for client in set(admitted.values()) - here}
        known = {str(gateway) for gateway in now.gateways}
        found = {
            client: gateway
            for client, gateway in there.items()
            if client in clients and gateway in known
        }
    for public_key in view.elsewhere:
        _put(found, public_key, now)
    return found


def _moved(before: _From, now: _From, routes: Routes) -> Routes:
    found = dict(routes)
    for public_key, _holder in before.view.elsewhere.items() ^ now.view.elsewhere.items():
        _put(found, public_key, now)
    return found


def _put(found: dict[str, str], public_key: str, now: _From) -> None:
    client = now.admitted.get(public_key)
    if client is None:
        return
    gateway = now.view.addresses.get(now.view.elsewhere.get(public_key, ""))
    if gateway in now.gateways:
        found[str(client)] = str(gateway)
    else:
        found.pop(str(client), None)
