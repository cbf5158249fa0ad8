"""The review's server over real sockets: who is let in, what is written, what a hostile result can do."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browsing import serving
from results import HOSTILE, SIDE, change, opinions, places

from satae.review import server as reviewserver
from satae.review import store as reviews
from satae.review.guard import COOKIE, TOKEN, Keys
from satae.review.server import LARGEST_CHIP, Server, chip_of, ready
from satae.review.store import Review

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Client:
    """A browser with the link, which can leave out or forge every single thing."""

    keys: Keys

    def ask(self, method: str, path: str, body: Any = None, **forged: str | None) -> Answer:
        host = self.keys.hosts[0]
        headers: dict[str, str | None] = {"Host": host, "Cookie": f"{COOKIE}={self.keys.cookie}"}
        if method == "POST":
            headers |= {
                "Origin": f"http://{host}",
                TOKEN: self.keys.token,
                "Content-Type": "application/json",
            }
        headers |= {name.replace("_", "-"): value for name, value in forged.items()}
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if method == "POST" and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(content or b""))
        connection = http.client.HTTPConnection("127.0.0.1", self.keys.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        out = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return out

    def get(self, path: str) -> Any:
        status, _, content = self.ask("GET", path)
        assert status == 200, content
        return json.loads(content)


@pytest.fixture
def served(gpkg: Path) -> Iterator[Server]:
    opened = Review(gpkg)
    server = ready(opened, ("ship", "roof"))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join()
    opened.close()


def decision(seen: int, **changes: Any) -> dict[str, Any]:
    return {"status": "accepted", "label": "ship", "note": "", "seen": seen} | changes


def test_the_link_is_of_this_machine_and_new_every_run(served: Server) -> None:
    address, _, token = served.keys.link.partition("/#")
    assert address == f"http://127.0.0.1:{served.keys.port}" and len(token) >= 43
    assert token == served.keys.token != served.keys.cookie
    assert Keys(1).token != Keys(1).token and token not in repr(served.keys)


def test_only_the_loopback_is_listened_on(served: Server) -> None:
    assert served._listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError), socket.socket() as other:
        other.connect(("127.0.0.2", served.keys.port))


def test_with_a_host_it_is_reached_from_elsewhere_and_demands_the_token_as_ever(gpkg: Path) -> None:
    with serving(gpkg, host="0.0.0.0") as server:
        keys = server.keys
        assert keys.link == f"http://127.0.0.1:{keys.port}/#{keys.token}"
        with socket.create_connection(("127.0.0.2", keys.port), timeout=5):
            pass
        client = Client(keys)
        mapped = "192.168.7.1:9000"  # as a container's port is
        assert client.ask("GET", "/regions", Host=mapped)[0] == 200
        assert client.ask("GET", "/regions", Host=mapped, Cookie=None)[0] == 401
        assert client.ask("POST", "/session", Host=mapped, Origin=f"http://{mapped}")[0] == 204
        forged: dict[str, str | None] = {"Host": mapped, "Origin": f"http://{mapped}"}
        assert client.ask("POST", "/session", **forged | {TOKEN.replace("-", "_"): None})[0] == 401
        for rebound in ("example.org", f"example.org:{keys.port}", "127.0.0.1.example.org", "[::1", ""):
            assert client.ask("GET", "/", Host=rebound)[0] in (400, 421), rebound


def test_the_token_is_exchanged_for_a_strict_cookie(served: Server) -> None:
    client = Client(served.keys)
    status, headers, content = client.ask("POST", "/session", Cookie=None)
    assert (status, content) == (204, b"")
    first, *flags = headers["set-cookie"].split("; ")
    assert first == f"{COOKIE}={client.keys.cookie}"
    assert {f.lower() for f in flags} == {"httponly", "samesite=strict", "path=/"}


@pytest.mark.parametrize("path", ["/", "/review.js", "/vendor/ol.js", "/regions", "/absent", "/chips/1.png"])
def test_every_answer_carries_the_headers_that_keep_it_apart(served: Server, path: str) -> None:
    client = Client(served.keys)
    _, headers, _ = client.ask("GET", path)
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin" and headers["x-frame-options"] == "DENY"
    assert not [name for name in headers if name.startswith("access-control")] and "server" not in headers


@pytest.mark.parametrize(
    ("method", "path", "forged", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 421),  # a rebound name
        ("GET", "/regions", {"Host": "127.0.0.1"}, 421),
        ("GET", "/regions", {"Host": "127.0.0.1:1"}, 421),
        ("GET", "/regions", {"Cookie": None}, 401),
        ("GET", "/changes?since=0", {"Cookie": f"{COOKIE}=guess"}, 401),
        ("GET", "/outlines", {"Cookie": f"x{COOKIE}=1; {COOKIE}="}, 401),
        ("GET", "/chips/1.png", {"Cookie": None}, 401),
        ("GET", "/scenes/0/picture/0/0/0.png", {"Cookie": None}, 401),
        ("POST", "/session", {TOKEN: None}, 401),
        ("POST", "/session", {TOKEN: "guess"}, 401),
        ("POST", "/session", {TOKEN: "\xe9"}, 401),
        ("POST", "/session", {"Origin": "http://evil.example"}, 403),
        ("POST", "/session", {"Origin": None}, 403),
        ("POST", "/regions/1", {"Host": "evil.example"}, 421),
        ("POST", "/regions/1", {"Cookie": None}, 401),
        ("POST", "/regions/1", {TOKEN: None}, 401),
        ("POST", "/regions/1", {"Origin": None}, 403),
        ("POST", "/regions/1", {"Origin": "null"}, 403),
        ("POST", "/regions/1", {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", "/regions/1", {"Content-Length": "99999"}, 413),
        ("POST", "/regions/1", {"Content-Length": None, "Transfer-Encoding": "chunked"}, 411),
        ("OPTIONS", "/regions/1", {}, 405),
        ("PUT", "/regions/1", {}, 405),
        ("DELETE", "/regions/1", {}, 405),
        ("GET", "/docs", {}, 404),
        ("GET", "/openapi.json", {}, 404),
        ("GET", "/vendor/../review.py", {}, 404),
        ("GET", "/vendor/openlayers.json", {}, 404),
    ],
)
def test_others_are_not_let_in(
    served: Server, gpkg: Path, method: str, path: str, forged: dict[str, str | None], status: int
) -> None:
    client = Client(served.keys)
    seen = client.get("/changes?since=0")["opinions"]["1"]["revision"]
    body = decision(seen) if path == "/regions/1" and method == "POST" else None
    if "Transfer-Encoding" in forged:
        body = b"0\r\n\r\n"
    answer = client.ask(method, path, body, **{k.replace("-", "_"): v for k, v in forged.items()})
    assert answer[0] == status and set(json.loads(answer[2])) == {"error"}
    assert opinions(gpkg)[0] == ("unreviewed", "", "") and client.keys.token not in str(answer)


def test_the_page_may_also_be_called_localhost(served: Server) -> None:
    client = Client(served.keys)
    host = client.keys.hosts[1]
    assert host.startswith("localhost:")
    assert client.ask("POST", "/session", Host=host, Origin=f"http://{host}")[0] == 204
    assert client.ask("POST", "/session", Host=host)[0] == 403  # one name's page, the other's server


def test_what_a_file_of_the_page_is_does_not_depend_on_the_query(served: Server) -> None:
    client = Client(served.keys)
    plain, asked = (client.ask("GET", f"/words.js{query}") for query in ("", "?name=index.html"))
    assert plain[0] == asked[0] == 200 and plain[2] == asked[2]


def test_nothing_of_the_page_is_inline(served: Server) -> None:
    client = Client(served.keys)
    page = client.ask("GET", "/")[2].decode()
    assert "<script>" not in page and " style=" not in page and " on" + "click" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_decision_is_written_and_answered_with_its_revision(served: Server, gpkg: Path) -> None:
    client = Client(served.keys)
    content = client.get("/changes?since=0")
    seen = content["opinions"]["2"]["revision"]
    status, _, answer = client.ask("POST", "/regions/2", decision(seen, note="a\nb"))
    assert status == 200 and opinions(gpkg)[1] == ("accepted", "ship", "a\nb")
    revision = json.loads(answer)["revision"]
    assert revision > content["revision"]
    told = client.get(f"/changes?since={content['revision']}")
    assert list(told["opinions"]) == ["2"] and told["opinions"]["2"]["status"] == "accepted"
    assert client.get(f"/changes?since={revision}")["opinions"] == {}


def test_what_was_changed_elsewhere_is_refused_and_told(served: Server, gpkg: Path) -> None:
    client = Client(served.keys)
    seen = client.get("/changes?since=0")["opinions"]["1"]["revision"]
    change(gpkg, "UPDATE anomalies SET review_status = 'rejected' WHERE fid = 1")
    status, _, answer = client.ask("POST", "/regions/1", decision(seen))
    content = json.loads(answer)
    assert status == 409 and content["error"] == "rank 1 was changed elsewhere; look again, then decide"
    assert content["opinions"]["1"]["status"] == "rejected" and opinions(gpkg)[0][0] == "rejected"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/regions/1", {"status": "accepted"}, 422),
        ("/regions/1", decision(1, status="maybe"), 400),
        ("/regions/1", decision(1, status=1), 422),
        ("/regions/1", decision(1, label="a\nb"), 400),
        ("/regions/1", decision(1, note="x" * 2001), 422),
        ("/regions/1", decision(1, note="a\0"), 400),
        ("/regions/1", decision(1, fid=2), 422),
        ("/regions/1", decision("1"), 422),
        ("/regions/1", decision(2**70), 409),
        ("/regions/1", b'{"status": "accepted", "label": "\\ud800", "note": "", "seen": 1}', 422),
        ("/regions/1", b"\xff\xfe", 422),
        ("/regions/1", b"[" * 9000, 400),
        ("/regions/1", b"", 422),
        ("/regions/99", decision(1), 400),
        ("/regions/-1", decision(1), 400),
        (f"/regions/{2**80}", decision(1), 400),
        ("/regions/1;DROP", decision(1), 422),
        ("/regions/anomaly", decision(1), 422),
    ],
)
def test_what_is_no_decision_changes_nothing(
    served: Server, gpkg: Path, path: str, body: Any, status: int
) -> None:
    client = Client(served.keys)
    answer = client.ask("POST", path, body)
    assert answer[0] == status and isinstance(json.loads(answer[2])["error"], str)
    assert opinions(gpkg) == [("unreviewed", "", "")] * 6


def test_a_locked_file_is_answered_at_once_enough(
    gpkg: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(reviews, "PATIENCE", 0.05)
    client = Client(request.getfixturevalue("served").keys)
    seen = client.get("/changes?since=0")["opinions"]["1"]["revision"]
    database = reviews.sqlite3.connect(gpkg, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    status, _, answer = client.ask("POST", "/regions/1", decision(seen))
    assert status == 503 and "locked by another program" in json.loads(answer)["error"]
    database.execute("ROLLBACK")
    database.close()
    assert client.ask("POST", "/regions/1", decision(seen))[0] == 200


def test_regions_come_with_all_that_the_page_shows(served: Server) -> None:
    client = Client(served.keys)
    content = client.get("/regions")
    assert content["name"] == "anomalies.gpkg" and content["labels"] == ["ship", "roof"]
    (scene,) = content["scenes"]
    assert scene["width"] == scene["height"] == 320 and scene["picture"] and scene["heat"]
    assert scene["transform"] == [10, 0, 500_000, 0, -10, 5_200_000] and scene["levels"] == 2
    assert [r["rank"] for r in content["regions"]] == [1, 2, 3, 4, 5, 6]
    assert content["regions"][0]["baseline_score"] == 2 and content["regions"][0]["scene"] == 0


def test_outlines_are_in_pixels_of_the_scene(served: Server) -> None:
    client = Client(served.keys)
    ((ring,),) = client.get("/outlines")["2"]
    row, col = places(2)[1]
    assert {tuple(p) for p in ring} == {(x, -y) for x in (col, col + SIDE) for y in (row, row + SIDE)}


def test_pictures_are_named_by_numbers_alone(served: Server) -> None:
    client = Client(served.keys)
    for path in ("/chips/1.png", "/scenes/0/picture/0/0/0.png", "/scenes/0/heatmap/1/0/0.png"):
        status, headers, content = client.ask("GET", path)
        assert status == 200 and headers["content-type"] == "image/png" and content.startswith(b"\x89PNG")
    for path in (
        "/chips/6.png", "/chips/99.png", "/scenes/0/picture/0/5/0.png", "/scenes/1/picture/0/0/0.png",
        "/scenes/0/picture/0/2147483648/0.png",
    ):  # fmt: skip
        assert client.ask("GET", path)[0] == 404
    for path in (
        "/chips/../anomalies.gpkg",
        "/chips/%2e%2e%2fscene.tif",
        "/scenes/0/picture/99999999999/0/0.png",
    ):
        assert client.ask("GET", path)[0] in (404, 422)


def test_chips_come_from_the_results_folder_alone(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    png = b"\x89PNG\r\n\x1a\n"
    (tmp_path / "secret.png").write_bytes(png)
    (inner / "good.png").write_bytes(png)
    (inner / "text.png").write_text("<script>")
    (inner / "link.png").symlink_to(tmp_path / "secret.png")
    with (inner / "huge.png").open("wb") as file:
        file.write(png)
        file.truncate(LARGEST_CHIP + 1)
    assert chip_of(inner, "good.png") == png
    others = [
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "text.png",
        "huge.png",
        "",
        ".",
        "a\0",
        "x" * 5000,
    ]
    assert [name for name in others if chip_of(inner, name) is not None] == [] and chip_of(
        inner, None
    ) is None


def test_hostile_texts_are_data(gpkg: Path, request: pytest.FixtureRequest) -> None:
    change(
        gpkg, "UPDATE anomalies SET anomaly_id = ?, scene = ?, top_band = ?, review_note = ?", *[HOSTILE] * 4
    )
    change(gpkg, "UPDATE anomalies SET chip = '../../../../etc/passwd', review_label = CAST(x'ff' AS TEXT)")
    change(gpkg, "UPDATE anomalies SET band_shares = ?", json.dumps({HOSTILE: 1.0}))
    client = Client(request.getfixturevalue("served").keys)
    status, headers, content = client.ask("GET", "/regions")
    first = json.loads(content)["regions"][0]
    assert status == 200 and headers["content-type"] == "application/json"
    assert first["anomaly_id"] == HOSTILE and first["band_shares"] == {HOSTILE: 1.0}
    assert client.get("/changes?since=0")["opinions"]["1"]["label"] == "\N{REPLACEMENT CHARACTER}"
    assert client.ask("GET", "/chips/1.png")[0] == 404


def test_what_is_served_is_in_the_package_and_nothing_else(served: Server) -> None:
    client = Client(served.keys)
    web = Path(reviewserver.__file__).parent / "web"
    there = {str(p.relative_to(web)).replace("\\", "/") for p in web.rglob("*") if p.is_file()}
    assert set(reviewserver.PAGE) == there - {
        "vendor/LICENSE.md",
        "vendor/bundled.txt",
        "vendor/openlayers.json",
    }
    for name in reviewserver.PAGE:
        status, headers, content = client.ask("GET", f"/{name}")
        assert status == 200 and content == (web / name).read_bytes()
        assert headers["content-type"] == reviewserver.PAGE[name]


def test_openlayers_is_what_the_record_says() -> None:
    vendor = Path(reviewserver.__file__).parent / "web" / "vendor"
    record = json.loads((vendor / "openlayers.json").read_text())
    hashes = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in vendor.iterdir()
        if p.name != "openlayers.json"
    }
    assert record["sha256"] == hashes and record["license"] == "BSD-2-Clause"
    assert max(p.stat().st_size for p in vendor.iterdir()) < 1_500_000
