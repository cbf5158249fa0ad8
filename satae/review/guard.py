"""Who may ask the server of `satae review` for what: whoever holds the link, and no other page, host or name.

The link's token, which is in its fragment and so never sent by itself, is exchanged for a cookie; a request that
changes anything shows both.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from satae.review.connections import Connections

HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0", "::"  # addresses that stand for all of a machine's
COOKIE = "satae_review"
TOKEN = "x-satae-token"
LONGEST_BODY = 16 * 2**10
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Keys:
    """What tells the reviewer from others on this machine; new with every run.

    Cookies do not tell ports apart, so another server here may be sent `cookie`; `token` stays in the page.
    `host` is the address that is listened on.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    host: str = HOST

    @property
    def hosts(self) -> tuple[str, str]:
        """How this server is called from this machine."""
        # what stands for all addresses is none that a browser can open
        here = HOST if self.host in EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        return f"{here}:{self.port}", f"localhost:{self.port}"

    def are_of(self, host: str) -> bool:
        """Whether a request that calls this server so is meant for it; another name that leads here is a rebound one.

        Where more than this machine is listened to, any address will do, at any port, for a container's is mapped:
        what is rebound is a name.
        """
        if self.host == HOST:
            return host in self.hosts
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in ("localhost", socket.gethostname().lower()) or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    @property
    def link(self) -> str:
        """What opens the page."""
        return f"http://{self.hosts[0]}/#{self.token}"


class Guard:
    """Lets nothing through but requests of the page itself, and marks every answer."""

    def __init__(self, app: ASGIApp, keys: Keys, public: Collection[str]) -> None:
        # `public` are the files of the page, which hold nothing of a result
        self.app, self.keys, self.public, self.connections = app, keys, public, Connections()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http":
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        fault = self._fault(scope)
        if fault is None and scope.get("client") and self._shows_key(scope):
            self.connections.welcome(tuple(scope["client"]))
        answer = self.app if fault is None else JSONResponse({"error": fault[1]}, fault[0])
        await answer(scope, receive, marked)

    def _fault(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence where a request is not let through."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        names = headers.getlist("host")
        if len(names) != 1 or not self.keys.are_of(names[0]):
            return 421, "this server has another name"
        if method not in ("GET", "HEAD", "POST"):
            return 405, f"{method} is not served"
        if method == "POST":
            if headers.get("origin") != f"http://{headers['host']}":
                return 403, "this request comes from another page"
            if not headers.get(TOKEN):
                return 401, "this address has no token; open the whole link that satae review printed"
            if not _same(headers[TOKEN], self.keys.token):
                return 401, "the link is of another run; open the one that satae review printed last"
            if not headers.get("content-length", "").isdecimal() or "transfer-encoding" in headers:
                return 411, "the length of the request is missing"
            if int(headers["content-length"]) > LONGEST_BODY:
                return 413, f"the request is longer than {LONGEST_BODY} bytes"
        public = path == "/session" or path == "/" or path[1:] in self.public
        if not public and not self._shows_cookie(headers):
            return 401, "open the link that satae review printed"
        return None

    def _shows_key(self, scope: Scope) -> bool:
        """Whether a request that is let through is of who holds the link: what it changes shows the token."""
        return scope["method"] == "POST" or self._shows_cookie(Headers(scope=scope))

    def _shows_cookie(self, headers: Headers) -> bool:
        return _same(_cookie(headers.get("cookie", "")), self.keys.cookie)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _cookie(text: str) -> str:
    pairs = (part.strip().partition("=") for part in text.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")
