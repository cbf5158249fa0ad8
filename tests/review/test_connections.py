"""Connections to the review's server that are held or trickle, and a reviewer who gets through all the same."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from browsing import serving

from satae.review import connections
from satae.review import server as server_module
from satae.review.guard import COOKIE, TOKEN, Keys

HALF = b"GET / HTTP/1.1\r\nHost: "


@contextmanager
def held(keys: Keys, number: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connected(keys, said)) for _ in range(number)]


def connected(keys: Keys, said: bytes) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", keys.port), timeout=10)
    made.sendall(said)
    return made


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it, within the patience of the socket."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def status(connection: http.client.HTTPConnection, path: str, keys: Keys) -> int:
    connection.request("GET", path, headers={"Cookie": f"{COOKIE}={keys.cookie}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize("said", [b"", HALF], ids=["idle", "half a request"])
def test_who_has_the_key_gets_through_while_200_connections_are_held(gpkg: Path, said: bytes) -> None:
    with serving(gpkg) as server:
        keys = server.keys
        kept = http.client.HTTPConnection("127.0.0.1", keys.port, timeout=10)
        assert status(kept, "/changes?since=0", keys) == 200
        with held(keys, 200, said) as others:
            # a browser that comes only now, from the page on: it has no cookie yet
            came = http.client.HTTPConnection("127.0.0.1", keys.port, timeout=10)
            assert status(came, "/", Keys(0)) == 200
            came.request(
                "POST", "/session", b"", {"Origin": f"http://127.0.0.1:{keys.port}", TOKEN: keys.token}
            )
            answer = came.getresponse()
            assert (answer.status, answer.read()) == (204, b"")
            for connection in (kept, came, http.client.HTTPConnection("127.0.0.1", keys.port, timeout=10)):
                assert status(connection, "/changes?since=0", keys) == 200
                connection.close()
            for other in others:
                other.settimeout(0.01)
            assert sum(not is_closed(other) for other in others) <= connections.STRANGERS


def test_a_request_that_trickles_in_is_cut_off(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST", 0.3)
    with serving(gpkg) as server, connected(server.keys, HALF) as connection:
        started = time.monotonic()
        connection.settimeout(0.05)
        while not is_closed(connection):
            connection.sendall(b"1")
            assert time.monotonic() - started < 5
        assert time.monotonic() - started >= 0.25


def test_half_a_body_is_cut_off_whoever_sends_it(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST", 0.3)
    with serving(gpkg) as server, ExitStack() as stack:
        host, keys = f"127.0.0.1:{server.keys.port}", server.keys
        lines = (
            "POST /regions/1 HTTP/1.1", f"Host: {host}", f"Origin: http://{host}", f"{TOKEN}: {keys.token}",
            f"Cookie: {COOKIE}={keys.cookie}", "Content-Type: application/json", "Content-Length: 90", "", "{",
        )  # fmt: skip
        assert is_closed(stack.enter_context(connected(keys, "\r\n".join(lines).encode())))


def test_an_answer_that_is_not_read_is_cut_off(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER", 0.3)
    with serving(gpkg) as server, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.keys.port))
        size = len((Path(server_module.__file__).parent / "web" / "vendor" / "ol.js").read_bytes())
        # more than all buffers on the way take
        reader.sendall(
            f"GET /vendor/ol.js HTTP/1.1\r\nHost: 127.0.0.1:{server.keys.port}\r\n\r\n".encode() * 40
        )
        time.sleep(0.6)
        reader.settimeout(10)
        received = 0
        with suppress(ConnectionResetError):
            while part := reader.recv(2**16):
                received += len(part)
        assert received < 40 * size
