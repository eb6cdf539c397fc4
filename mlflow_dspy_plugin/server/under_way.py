"""How many requests are under way, for whoever has to wait for their end."""

import asyncio

from mlflow_dspy_plugin.server.observing import Request


class UnderWay:
    """Counts requests, as an observer of them.

    Attributes:
        count: How many there are now.
    """

    def __init__(self) -> None:
        self.count = 0
        self._none_left = asyncio.Event()

    def begin(self, request: Request) -> None:
        """One more."""
        self.count += 1

    def end(self, request: Request) -> None:
        """One less."""
        self.count -= 1
        if not self.count:
            self._none_left.set()

    async def ended(self, seconds: float) -> bool:
        """Wait until there are none, and no longer than that; returns whether there are none."""
        self._none_left.clear()
        if self.count:
            await asyncio.wait({asyncio.ensure_future(self._none_left.wait())}, timeout=seconds)
        return not self.count
