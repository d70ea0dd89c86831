"""The routes as the rest of the agent sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoutesView:
    """What the routes' thread has published last."""

    held: tuple[str, ...] = ()
    """Route tables whose route this gateway holds by their items."""
    pointing: tuple[str, ...] = ()
    """Route tables whose route led here at the last look."""
    forwards: bool = False
    """EC2 lets this instance send and receive what is not its own: its check is off."""
    changes: int = 0
    """Routes written, replaced or deleted since the start."""
    faults: tuple[str, ...] = ()
    """What is wrong, in words."""

    @property
    def rid(self) -> bool:
        """Whether the VPC sends nothing here because of a route."""
        return not self.held and not self.pointing
