"""Connections to a server, and the end of those that never come to say what they want.

uvicorn waits for the head of a request as long as it takes: whoever opens connections and sends a byte now and then
would come to hold all that the process may have.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_SECONDS = 20.0


class Connection(AutoHTTPProtocol):
    """A connection that is closed once the head of a request has not come whole in 20 to 40 seconds.

    One timer looks at it now and then; requests cost nothing. Between two requests uvicorn's own timer holds, until
    the first byte of the next.
    """

    seconds = _SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to look at it."""
        super().connection_made(transport)
        self._waiting_after: tuple[Any] | None = None
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._look)

    def _look(self) -> None:
        """Close it if it waits for the head of the same request as at the last look."""
        if self.transport.is_closing():
            # What waits to be sent to a client that does not read would hold it open.
            self.transport.abort()
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        is_between_requests = self.timeout_keep_alive_task is not None
        waiting_after = None if is_answering or is_between_requests else (self.cycle,)
        if waiting_after is not None and waiting_after == self._waiting_after:
            self.transport.close()
            return
        self._waiting_after = waiting_after
        self._look_later()
