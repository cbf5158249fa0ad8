"""Who is connected to `satae review`: half requests are timed, and who has no key cannot keep out who has.

Everybody here has the address of this machine, so clients are told apart by the key: a connection is a stranger's until
it has shown it. Strangers have few places, and a new one takes that of the oldest. Nothing is known of pages here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST = 10.0  # seconds for a whole request, from the connection or its first byte on
ANSWER = 120.0  # seconds for its answer, until the client has read it
IDLE, STRANGER_IDLE = 30, 5  # seconds between two requests
STRANGERS = 64  # connections without the key
MOST = 128  # connections with it

Client = tuple[str, int]


class Connections:
    """The open connections, by the address and port of the other side, the oldest first."""

    def __init__(self) -> None:
        self.strangers: dict[Client, Connection] = {}
        self.holders: dict[Client, Connection] = {}

    def __call__(self, *args: Any, **how: Any) -> Connection:
        """A protocol for a new connection, as uvicorn asks for it."""
        return Connection(self, *args, **how)

    def enter(self, connection: Connection) -> None:
        """Take in a stranger, in the place of the oldest where there is none left."""
        _take(self.strangers, connection, STRANGERS)

    def welcome(self, client: Client) -> None:
        """The client has shown the key."""
        connection = self.strangers.pop(client, None)
        if connection is not None:
            connection.timeout_keep_alive = IDLE
            _take(self.holders, connection, MOST)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        for places in (self.strangers, self.holders):
            if connection.client is not None and places.get(connection.client) is connection:
                del places[connection.client]


def _take(places: dict[Client, Connection], connection: Connection, most: int) -> None:
    if len(places) >= most:
        places.pop(next(iter(places))).transport.abort()
    if connection.client is not None:
        places[connection.client] = connection


class Connection(H11Protocol):
    """One connection, which is closed where a request or its answer takes too long."""

    def __init__(self, connections: Connections, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.places, self.timeout_keep_alive = connections, STRANGER_IDLE
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, and wait for a request."""
        super().connection_made(transport)
        self.places.enter(self)
        self._allow(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._allow(None)
        self.places.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Part of a request: more of it does not prolong the time that it has."""
        if self.timer is None:
            self._allow(REQUEST)
        super().data_received(data)
        if self._answering and not self.cycle.more_body:
            self._allow(ANSWER)

    def on_response_complete(self) -> None:
        """An answer was read; uvicorn's own timer runs until the next request."""
        super().on_response_complete()
        # of requests that were sent together the next one is at work already
        self._allow(ANSWER if self._answering else None)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _allow(self, seconds: float | None) -> None:
        """Close the connection after so many seconds, None: not."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
