"""Addresses of what lies on servers: which may be asked, and how they are written where others may read them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit
from urllib.request import getproxies

from satae.errors import SceneError

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
# what signs a request, and differs from one day to the next for one file
SIGNATURES = re.compile(
    r"x-(amz|goog)-|(signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid)$|"
    r"(se|si|sig|sip|sp|spr|sr|srt|ss|st|sv|ske|skoid|sks|skt|sktid|skv|sdd)$|.*(token|key|secret|password|auth)",
    re.I,
)


def split(link: str) -> SplitResult:
    """The parts of an address; SceneError where it is none."""
    try:
        parts = urlsplit(link)
        parts.port  # noqa: B018  (it is read to be checked)
    except ValueError as error:
        raise SceneError(f"{bare(link)} is no address: {error}") from error
    if not parts.hostname:
        raise SceneError(f"{bare(link)} names no server")
    return parts


def bare(link: str) -> str:
    """An address for messages and records: without user, password, query and fragment, which may hold credentials."""
    # by hand, for it must not fail for what is no address
    scheme, _, rest = link.partition("://")
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def identity(link: str) -> str:
    """What a file is known by in the cache: its address without what signs a request."""
    parts = split(link)
    # the rest of a query may tell one file from another
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not SIGNATURES.match(k)]
    place = parts.netloc.rpartition("@")[2].lower()
    return urlunsplit((parts.scheme.lower(), place, parts.path, urlencode(sorted(query)), ""))


def origin(link: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an address."""
    parts = split(link)
    return parts.scheme, str(parts.hostname), parts.port or (80 if parts.scheme == "http" else 443)


def check(link: str, named: Collection[str]) -> None:
    """SceneError where an address must not be asked.

    There are https and s3; http to this machine alone. A host of a private network is asked only where the user
    `named` it: what a document says must not lead satae to servers that its writer cannot reach.
    """
    parts = split(link)
    host = str(parts.hostname)
    if parts.scheme == "s3":
        if not BUCKET.match(parts.netloc) or len(parts.path) < 2:
            raise SceneError(f"{bare(link)} is no s3://BUCKET/KEY")
        return
    if parts.scheme not in ("https", "http"):
        raise SceneError(f"{bare(link)} is of a kind that is not fetched; there are https:// and s3://")
    addresses = _addresses(host, origin(link)[2], link)
    if parts.scheme == "http" and not (addresses and all(a.is_loopback for a in addresses)):
        raise SceneError(f"{bare(link)} would come over http, where others can change it; use https")
    if host not in named and not all(a.is_global for a in addresses):
        raise SceneError(f"{bare(link)} lies in a private network, where only hosts that you name are asked")


def _addresses(host: str, port: int, link: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Where a host lies; nothing where only the proxy knows."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, port)}
    except (OSError, UnicodeError) as error:
        # behind a proxy many machines know no names; what is an address in digits needs none
        if "https" in getproxies() and not host.replace(".", "").isdigit():
            return []
        raise SceneError(
            f"{bare(link)} cannot be fetched: no server {host} is known; is there a network?"
        ) from error
    addresses = [ipaddress.ip_address(address) for address in found]
    # an IPv4 address can be written as one of IPv6
    return [getattr(a, "ipv4_mapped", None) or a for a in addresses]
