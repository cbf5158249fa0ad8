"""Addresses: which are asked, what is shown of them, and by what a file is known."""

from __future__ import annotations

import socket

import pytest

from satae.errors import SceneError
from satae.fetch import links

HOSTS = {
    "public.example": "93.184.216.34", "inside.example": "10.1.2.3", "meta.example": "169.254.169.254",
    "here.example": "127.0.0.1", "mapped.example": "::ffff:192.168.1.1", "six.example": "fd00::1",
    "public6.example": "2606:2800:220:1:248:1893:25c8:1946", "mapped-public.example": "::ffff:8.8.8.8",
}  # fmt: skip
PATCHED = pytest.MonkeyPatch()


def setup_module() -> None:
    """A name service that knows these hosts, and addresses."""

    def resolve(host: str, port: int, *_: object) -> list[tuple]:
        if host.endswith(".example") and host not in HOSTS:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (HOSTS.get(host, host), port))]

    PATCHED.setattr(socket, "getaddrinfo", resolve)
    PATCHED.delenv("https_proxy", raising=False)
    PATCHED.delenv("HTTPS_PROXY", raising=False)


def teardown_module() -> None:
    """The name service of the system again."""
    PATCHED.undo()


@pytest.mark.parametrize(
    "link",
    [
        "https://public.example/a.tif",
        "https://public6.example:8443/a",
        "https://mapped-public.example/a",
        "s3://bucket/key",
        "https://8.8.8.8/a",
    ],
)
def test_servers_of_the_world_are_asked(link: str) -> None:
    links.check(link, ())


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("http://public.example/a", "use https"),
        ("https://inside.example/a", "private network"),
        ("https://meta.example/latest", "private network"),
        ("https://169.254.169.254/latest", "private network"),
        ("https://mapped.example/a", "private network"),
        ("https://six.example/a", "private network"),
        ("https://[::1]/a", "private network"),
        ("http://here.example/a", "private network"),
        ("https://unknown.example/a", "no server unknown.example is known"),
        ("ftp://public.example/a", "not fetched; there are https:// and s3://"),
        ("gs://bucket/a", "not fetched"),
        ("https:///a", "names no server"),
        ("https://public.example:port/a", "no address"),
        ("https://[x/a", "no address"),
        ("s3://b/a", "no s3://BUCKET/KEY"),
        ("s3://bucket/", "no s3://BUCKET/KEY"),
        ("s3://user:word@bucket/a", "no s3://BUCKET/KEY"),
    ],
)
def test_others_are_refused_in_a_sentence(link: str, fault: str) -> None:
    with pytest.raises(SceneError, match=fault) as raised:
        links.check(link, ())
    assert "word" not in str(raised.value)


def test_a_private_host_that_the_user_named_is_asked_and_http_only_on_this_machine() -> None:
    links.check("https://inside.example/a", {"inside.example"})
    links.check("http://here.example/a", {"here.example"})
    with pytest.raises(SceneError, match="use https"):
        links.check("http://inside.example/a", {"inside.example"})


def test_what_is_shown_has_no_credentials() -> None:
    assert links.bare("https://me:word@a.example:8443/x/y.tif?sig=1#frag") == "https://a.example:8443/x/y.tif"
    assert links.bare("s3://bucket/a@b.tif") == "s3://bucket/a@b.tif"
    assert links.bare("https://a.example?sig=1") == "https://a.example"
    assert links.bare("https://me:wo@rd@a.example/x") == "https://a.example/x"


def test_a_file_is_known_whoever_signs_for_it_and_not_confused_with_another() -> None:
    one = links.identity("https://A.example/x.tif?id=1&se=2026&sig=abc&X-Amz-Signature=1&sr=b")
    assert (
        one
        == links.identity("https://me:word@a.example/x.tif?sig=def&id=1")
        == "https://a.example/x.tif?id=1"
    )
    assert links.identity("https://a.example/x.tif?id=2") != one
