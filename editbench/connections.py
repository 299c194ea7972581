"""How long others may take to say what they want of a service, and how many of them there may be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 30.0
"""From a connection's first moment, or the first byte of a later request, to the end of its header."""
CONNECTIONS = 300
"""More than that are told to come again: more than any client of ours opens, far fewer than a process may have."""


def impatient(seconds: float = HEADER_SECONDS) -> type[H11Protocol]:
    """Return uvicorn's protocol with a deadline for headers; it has none of its own, and waits for ever.

    Args:
        seconds: after which a connection whose header is not complete is closed.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            begun = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
            if begun and self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.abort)
            elif not begun:
                self._forget()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Impatient
