"""One call of an operator's command, as a test sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest


class Run:
    """What one call did."""

    def __init__(
        self,
        main: Callable[[Sequence[str]], int],
        capfd: pytest.CaptureFixture[str],
        argv: Sequence[object],
    ) -> None:
        self.status = main([str(word) for word in argv])
        self.stdout, self.stderr = capfd.readouterr()

    @property
    def json(self) -> Any:
        """What it printed on stdout."""
        return json.loads(self.stdout)
