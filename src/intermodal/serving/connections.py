"""Connections to the predictor: how many there may be, and how long a client may take."""

import asyncio
import logging
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Seconds from a request's first byte, or from the connection, to the end of its headers.
HEADER_SECONDS = 10.0
#: Seconds between two pieces of a body, and until a client takes a piece of an answer.
BODY_SECONDS = 30.0
#: Connections at a time; below the 1,024 files that a process may usually have open.
MOST_CONNECTIONS = 512
logger = logging.getLogger("intermodal.predictor")


class Connection(HttpToolsProtocol):  # type: ignore[misc]
    """Uvicorn's connection with what uvicorn leaves to a proxy: deadlines for slow clients, and a limit of connections.

    At the limit the connection that has waited longest without a whole request makes room; if there is none, the new one is answered 503.
    """

    header_seconds, body_seconds, most = HEADER_SECONDS, BODY_SECONDS, MOST_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take the connection, and make room for it where the limit is reached."""
        self._since = time.monotonic()
        full = len(self.connections) >= self.most
        super().connection_made(transport)
        if not full:
            self._allow(self.header_seconds, 408)
        elif waiting := [each for each in self.connections if each is not self and each.waits and not each.transport.is_closing()]:
            min(waiting, key=lambda each: each._since)._end(503)
            self._allow(self.header_seconds, 408)
        else:
            self._end(503)

    def data_received(self, data: bytes) -> None:
        """Read what came, and give the rest of the request its time."""
        if self.transport.is_closing():
            return
        began = self.idle and self.timeout_keep_alive_task is not None
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            return
        if not self.idle:
            self._since = time.monotonic()
            self._allow(self.body_seconds if self.cycle.more_body else None, 408)
        elif began:  # a request after another on this connection
            self._allow(self.header_seconds, 408)

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answer, but not for ever."""
        super().pause_writing()
        self._allow(self.body_seconds, None)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        self._allow(None, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._allow(None, None)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request with whole headers is under way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Whether no whole request is here, though its headers or the rest of its body may still come."""
        return self.idle or self.cycle.more_body

    def _allow(self, seconds: float | None, status: int | None) -> None:
        """End the connection in so many seconds; None: no deadline."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._end, status)

    def _end(self, status: int | None) -> None:
        """Close the connection, with an answer that says why where none has begun."""
        logger.info("closed a connection of %s: %s", self.client, {408: "too slow", 503: "too many connections", None: "does not read"}[status])
        if status is None or (self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete):
            self.transport.abort()
            return
        phrase = {408: b"Request Timeout", 503: b"Service Unavailable"}[status]
        self.transport.write(b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, phrase))
        self.transport.close()


def limited(**limits: Any) -> type[Connection]:
    """Return `Connection` with other limits: `header_seconds`, `body_seconds`, `most`."""
    return type("LimitedConnection", (Connection,), limits)
