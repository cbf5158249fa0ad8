"""Files over https, from a byte on: redirects to other hosts are not followed, no server is waited for without end.

obstore follows any redirect and cannot be told not to, so it is Python's own client that speaks here.
"""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from satae import __version__
from satae.fetch import links

PATIENCE = 30.0  # seconds without a byte that a server is waited for
PIECE = 1 << 20  # bytes
HOPS = 3  # redirects on one host
LONGEST_WAIT = 30.0  # seconds that a server may ask to be waited for
PASSING = (408, 425, 429, 500, 502, 503, 504)
MEANINGS = {
    401: "wants a login", 403: "does not allow it, and a signed link may have run out: get it anew",
    404: "does not have it", 410: "does not have it any more", 429: "had too many requests",
}  # fmt: skip


class Failure(Exception):
    """A request that came to nothing, as a sentence. `passes` where another try may help, after `wait` seconds."""

    def __init__(self, text: str, *, passes: bool = False, wait: float = 0.0) -> None:
        super().__init__(text)
        self.passes, self.wait = passes, wait


class Current(Exception):
    """The file is still what the cache holds."""


@dataclass(frozen=True)
class Answer:
    """Bytes of a file from `start` on, of `total` where the server says so.

    `validator` is by what the server tells one state of the file from another: ETag, or the time it was changed.
    """

    start: int
    total: int | None
    validator: str
    pieces: Iterator[bytes]


class _Straight(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `Web`, which looks where they lead."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Web:
    """A client of https servers; hosts of private networks must be `named` by the user."""

    def __init__(self, named: Collection[str]) -> None:
        self.named = named
        self.client = urllib.request.build_opener(_Straight)

    @contextmanager
    def get(self, link: str, *, start: int = 0, state: str = "", unless: str = "") -> Iterator[Answer]:
        """The file from `start` on where its validator is still `state`, else whole; Current where it is `unless`.

        Raises Failure where nothing comes, and so do the pieces where they end before all has come.
        """
        headers = {"User-Agent": f"satae/{__version__}"}
        if start:
            headers["Range"] = f"bytes={start}-"
            # a weak ETag cannot be asked for; what comes is compared in any case
            if not state.startswith("W/"):
                headers["If-Range"] = state
        if unless:
            headers["If-None-Match" if '"' in unless else "If-Modified-Since"] = unless
        with self._response(link, headers) as response:
            yield _answer(link, response, start)

    def _response(self, link: str, headers: Mapping[str, str]) -> Any:
        """The answer to a request, after redirects on the same host."""
        for _ in range(HOPS + 1):
            # every hop anew: a name may lead elsewhere than it did
            links.check(link, self.named)
            try:
                return self.client.open(_request(link, headers), timeout=PATIENCE)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 304:
                    raise Current from None
                if error.code not in (301, 302, 303, 307, 308):
                    raise _failure(link, error.code, error.headers.get("Retry-After") or "") from None
                link = _redirected(link, error.headers.get("Location") or "")
            except (OSError, http.client.HTTPException) as error:
                raise _broken(link, error) from None
        raise Failure(f"{links.bare(link)} is redirected more than {HOPS} times")


def _answer(link: str, response: Any, start: int) -> Answer:
    """What a response says of the bytes that it gives; Failure where they are not those from `start` on, nor all."""
    said = response.headers
    if said.get("Content-Encoding", "identity") != "identity":
        raise Failure(f"the server sends {links.bare(link)} packed, which was not asked for")
    length = int(n) if (n := said.get("Content-Length", "")).isdigit() else None
    begin, total = 0, length
    if response.status == 206:
        found = re.match(r"bytes (\d+)-(\d+)/(\d+)$", said.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise Failure(f"the server sent other bytes of {links.bare(link)} than those asked for")
        begin, total = start, int(found[3])
    return Answer(begin, total, said.get("ETag") or said.get("Last-Modified") or "", _pieces(link, response))


def _request(link: str, headers: Mapping[str, str]) -> urllib.request.Request:
    """A request whose user and password, if the address has them, are in its header."""
    parts = links.split(link)
    secret, at, place = parts.netloc.rpartition("@")
    bare = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
    login = {"Authorization": f"Basic {base64.b64encode(unquote(secret).encode()).decode()}"} if at else {}
    try:
        return urllib.request.Request(bare, headers={**headers, **login})
    except ValueError as error:
        raise Failure(f"{links.bare(link)} is no address") from error


def _redirected(link: str, target: str) -> str:
    """Where a redirect leads; Failure for another host."""
    new = urljoin(link, target)
    if not target or not urlsplit(new).hostname or links.origin(new) != links.origin(link):
        raise Failure(
            f"{links.bare(link)} is redirected to {links.bare(new)}, another server, which is not followed; name "
            "that address if you trust it"
        )
    # the same server, so it may have the login
    secret, at, _ = links.split(link).netloc.rpartition("@")
    place = links.split(new).netloc.rpartition("@")[2]
    return links.split(new)._replace(netloc=f"{secret}{at}{place}").geturl()


def _failure(link: str, code: int, wait: str) -> Failure:
    meaning = MEANINGS.get(code, "cannot give it")
    seconds = min(float(wait), LONGEST_WAIT) if wait.isdigit() else 0.0
    return Failure(
        f"the server answered {code} for {links.bare(link)}: it {meaning}",
        passes=code in PASSING,
        wait=seconds,
    )


def _broken(link: str, error: Exception) -> Failure:
    """A connection that was not made, or ended."""
    # its text is not shown: it may hold the whole address
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return Failure(f"the server sent nothing of {links.bare(link)} for {PATIENCE:g} s", passes=True)
    certain = "CERTIFICATE_VERIFY_FAILED" in str(cause)
    reason = getattr(cause, "strerror", None) or type(cause).__name__
    if certain:
        reason = "its certificate is not valid"
    return Failure(f"{links.bare(link)} cannot be fetched: {reason}", passes=not certain)


def _pieces(link: str, response: Any) -> Iterator[bytes]:
    while True:
        try:
            # what has come, not a full piece: one that trickles in would be waited for without end
            piece = response.read1(PIECE)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _broken(link, error) from None
        if not piece:
            return
        yield piece
