"""Scenes on servers: what is fetched, from whom and how often, what stays in the cache, and what a bad server gets."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from catalogues import collection, earth_search, item, written
from commands import refused, started, told, typed
from deliveries import raster
from servers import Server, serving

from satae.fetch import cache, links, s3, web

RNG = np.random.default_rng(5)
GROUND = {name: RNG.integers(1100, 4000, (48, 64)) for name in ("blue", "green", "red", "nir")}


SERVERS: list[Server] = []  # one of an item, its files and collections of it, and one to which that redirects
STARTED, PATCHED = ExitStack(), pytest.MonkeyPatch()


def setup_module() -> None:
    """Start the servers; nobody waits as long as in earnest."""
    folder, logs = (Path(STARTED.enter_context(TemporaryDirectory())) for _ in range(2))
    path = earth_search(folder, GROUND, classes=np.full((24, 32), 4), id="item")
    document = json.loads(path.read_text())
    other = written(folder / "other.json", {**document, "id": "other"})
    collection(folder / "items.json", [path, other])
    raster(folder / "scene.tif", RNG.integers(1, 255, (3, 64, 64)).astype(np.uint8), 10)
    away = STARTED.enter_context(serving(folder, logs / "away"))
    SERVERS[:] = [STARTED.enter_context(serving(folder, logs / "here", away.port)), away]
    PATCHED.setattr(cache, "PAUSE", 0.01)
    PATCHED.setattr(web, "PATIENCE", 0.4)
    PATCHED.setenv("no_proxy", "*")


def teardown_module() -> None:
    """Stop the servers."""
    STARTED.close()
    PATCHED.undo()


def tile(link: object, *more: object) -> tuple[object, ...]:
    return ("tile", link, "--size", 32, "--allow-network", "--cache", "cache", "--overwrite", *more)


def held(folder: Path = Path("cache")) -> list[str]:
    """The names of what the cache holds, hidden files too."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_without_the_option_nothing_connects_and_the_sentence_names_it(
    here: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    path = earth_search(here, GROUND)
    document = json.loads(path.read_text())
    for name in GROUND:
        document["assets"][name]["href"] = f"https://a.example/{name}.tif?sig=SECRET"
    remote = written(here / "remote.json", document)
    with pytest.raises(AssertionError, match="a connection"):  # the lock holds
        socket.create_connection(("127.0.0.1", 1))
    for link in (
        "https://a.example/x.tif?sig=SECRET",
        "s3://bucket/x.tif",
        "https://u:SECRET@a.example/i",
        remote,
    ):
        for command in (("tile",), ("score", "--model", model_path)):
            text = refused(2, *command, link)
            assert "is on a server; pass --allow-network" in text and "SECRET" not in text
    assert told("tile", path, "--size", 32)["tilesets"][0]["tiles"] == 4
    assert not (here / "cache").exists()


def test_an_item_is_fetched_with_the_files_of_its_usual_bands_and_masks_and_no_others(here: Path) -> None:
    server, away = SERVERS
    before = len(server.requests)
    told(*tile(server.link("well", "item.json")))
    asked = [r["path"] for r in server.requests[before:]]
    assert asked == [f"/well/{n}" for n in ("item.json", *(f"{b}.tif" for b in GROUND), "SCL.tif")]
    tiles = np.load("tiles/item/tiles.npy")
    assert np.array_equal(tiles[0], [image[:32, :32] - 1000 for image in GROUND.values()])
    told(*tile(server.link("well", "item.json"), "--bands", "red"))
    assert away.requests == []


def test_what_is_in_the_cache_is_asked_for_but_not_fetched_again(here: Path) -> None:
    server, _ = SERVERS
    for _ in range(2):
        before = len(server.requests)
        told(*tile(server.link("well", "scene.tif?sig=SECRET")))
    (again,) = server.requests[before:]
    assert "if-none-match" in again and held() == [".scene.tif.json", "scene.tif"]
    assert all("SECRET" not in p.read_text() for p in Path("cache").rglob("*.json"))


def test_a_file_in_the_cache_is_not_taken_for_one_of_another_address(here: Path) -> None:
    server, _ = SERVERS
    link = server.link("dated", "moved.json")
    for band in ("red", "nir", "nir"):
        assets = {"first": {"href": f"{band}.tif", "type": "image/tiff"}}
        written(server.folder / "moved.json", item("moved", assets, {}))
        told(*tile(link))
        assert np.array_equal(np.load("tiles/moved/tiles.npy")[0][0], GROUND[band][:32, :32])
    assert "if-modified-since" in server.requests[-1]


def test_names_that_would_be_one_file_are_refused(here: Path) -> None:
    server, _ = SERVERS
    assets = {
        key: {"href": "red.tif", "type": "image/tiff", "bands": [{"name": key}]} for key in ("B 1", "B_1")
    }
    written(server.folder / "alike.json", item("alike", assets, {}))
    assert "two assets of alike have one name, 'B 1' and 'B_1'" in refused(
        2, *tile(server.link("well", "alike.json"))
    )


def test_items_of_a_collection_and_one_by_its_id(here: Path) -> None:
    server, _ = SERVERS
    every = told(*tile(server.link("well", "items.json")))["tilesets"]
    assert [row["scene"] for row in every] == ["item", "other"]
    one = told(*tile(server.link("well", "items.json#other")))["tilesets"]
    assert [row["scene"] for row in one] == ["other"]
    assert "no STAC item of the id 'none'" in refused(2, *tile(server.link("well", "items.json#none")))


def test_a_local_item_gets_its_assets_by_address_and_its_own_folder_stays_as_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = SERVERS
    path = earth_search(here / "mine", GROUND)
    document = json.loads(path.read_text())
    document["assets"]["red"]["href"] = server.link("well", "red.tif")
    written(path, document)
    assert "private network, where only hosts that you name" in refused(2, *tile(path))
    monkeypatch.setattr(links, "check", lambda link, named: None)
    before = held(here / "mine")
    told(*tile(path))
    assert held(here / "mine") == before
    assert np.array_equal(np.load(next(here.glob("tiles/*/tiles.npy")))[0][2], GROUND["red"][:32, :32] - 1000)


@pytest.mark.parametrize(
    ("how", "sentence", "requests"),
    [
        ("403", "server answered 403 for .*: it does not allow it, and a signed link may have run out", 1),
        ("404", "server answered 404 for", 1),
        ("429", "server answered 429 for .*: it had too many requests, 4 times", 4),
        ("503", "server answered 503 for .*, 4 times", 4),
        ("to-host", "is redirected to http://localhost:.*, another server, which is not followed", 1),
        ("to-port", "is redirected to http://127.0.0.1:.*, another server", 1),
        ("to-private", "is redirected to http://10.0.0.1/scene.tif, another server", 1),
        ("to-file", "is redirected to file:///etc/hostname, another server", 1),
        ("to-itself", "is redirected more than 3 times", 4),
        ("to-host-later", "is redirected to http://localhost:.*, another server", 2),
        ("changes", "changed on the server while it was fetched; try again", 2),
        ("tagless", "ended .* after 1000 of .* bytes, 4 times", 4),
        ("truncates", "ended .* after 4000 of .* bytes, 4 times; run the same again to go on from there", 4),
        ("packed", "packed, which was not asked for", 1),
        ("trickles", "too slowly|sent nothing", 4),
    ],
)
def test_what_a_bad_server_does_is_one_sentence_and_nothing_is_left(
    here: Path, how: str, sentence: str, requests: int
) -> None:
    server, away = SERVERS
    before = len(server.requests)
    text = refused(2, *tile(server.link(how, "scene.tif?token=SECRET")))
    assert re.search(sentence, text), text
    assert "SECRET" not in text and len(server.requests) - before == requests
    # what can go on is hidden, and no file yet
    assert held() == ([".scene.tif.part", ".scene.tif.part.json"] if how in ("truncates", "trickles") else [])
    assert away.requests == [] and not Path("tiles").exists()


@pytest.mark.parametrize("how", ["busy", "pieces", "rangeless", "lengthless", "to-here"])
def test_what_passes_is_waited_for_and_the_file_is_whole(here: Path, how: str) -> None:
    server, _ = SERVERS
    told(*tile(server.link(how, "scene.tif?token=SECRET")))
    assert next(Path("cache").rglob("scene.tif")).read_bytes() == (server.folder / "scene.tif").read_bytes()
    assert held() == [".scene.tif.json", "scene.tif"]


def test_a_server_that_stalls_is_left_and_the_next_run_goes_on_where_it_ended(here: Path) -> None:
    server, _ = SERVERS
    before, link = len(server.requests), server.link("stalls", "scene.tif")
    text = refused(2, *tile(link))
    assert "sent nothing of" in text and "4 times; run the same again to go on from there" in text
    told(*tile(link))
    asked = [r.get("range", "bytes=0-") for r in server.requests[before:]]
    assert asked == [f"bytes={1000 * i}-" for i in range(6)]
    assert next(Path("cache").rglob("scene.tif")).read_bytes() == (server.folder / "scene.tif").read_bytes()


def test_what_a_killed_process_has_begun_is_no_file_and_goes_on(here: Path) -> None:
    server, _ = SERVERS
    link = server.link("halts", "scene.tif")
    process = started(here, *tile(link), ready=lambda: any(p.stat().st_size for p in here.rglob("*.part")))
    process.kill()
    process.communicate()
    assert not list(here.rglob("scene.tif"))
    told(*tile(link))
    assert server.requests[-1]["range"] == "bytes=1000-"
    assert next(Path("cache").rglob("scene.tif")).read_bytes() == (server.folder / "scene.tif").read_bytes()


def test_a_file_that_changed_since_it_was_begun_is_fetched_from_its_start(here: Path) -> None:
    server, _ = SERVERS
    path = server.folder / "moving.tif"
    raster(path, RNG.integers(1, 255, (3, 64, 64)).astype(np.uint8), 10)
    link = server.link("stalls", path.name)
    refused(2, *tile(link))
    raster(path, RNG.integers(1, 255, (3, 64, 64)).astype(np.uint8), 10)
    told(*tile(link))
    assert next(Path("cache").rglob("moving.tif")).read_bytes() == path.read_bytes()
    # and a whole one that changed is fetched anew
    raster(path, RNG.integers(1, 255, (3, 64, 64)).astype(np.uint8), 10)
    told(*tile(link))
    assert next(Path("cache").rglob("moving.tif")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        ({"file:checksum": "1220{sha256}"}, ""),
        ({"file:checksum": "d50110{md5}", "file:size": "{size}"}, ""),
        ({"file:checksum": "1220" + "00" * 32}, "does not have the checksum that its item states"),
        ({"file:checksum": "1e20" + "00" * 32}, "no multihash of a kind that is known"),
        ({"file:checksum": "what"}, "no multihash of a kind that is known"),
        ({"file:size": 7}, "bytes and its item says 7"),
    ],
)
def test_checksum_and_size_that_the_item_states_are_held_to(here: Path, stated: dict, sentence: str) -> None:
    server, _ = SERVERS
    content = (server.folder / "red.tif").read_bytes()
    digests = {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "md5")}
    said = {k: v.format(size=len(content), **digests) if isinstance(v, str) else v for k, v in stated.items()}
    if "file:size" in said:
        said["file:size"] = int(said["file:size"])
    assets = {"red": {"href": "red.tif", "type": "image/tiff", **said}}
    written(server.folder / "summed.json", item("summed", assets, {}))
    command = tile(server.link("well", "summed.json"))
    if not sentence:
        told(*command)
        return
    assert sentence in refused(2, *command)
    assert held() == []


def test_user_and_password_reach_the_server_alone(here: Path) -> None:
    server, _ = SERVERS
    link = server.link("well", "item.json").replace("//", "//me:pass%20word@")
    result = typed(*tile(link))
    assert result.exit_code == 0 and "word" not in result.output
    assert {r.get("authorization") for r in server.requests[-6:]} == {
        "Basic " + b64encode(b"me:pass word").decode()
    }
    for path in (*Path("cache").rglob("*"), *Path("tiles").rglob("*")):
        assert path.is_dir() or b"pass%20word" not in path.read_bytes()


def test_signed_addresses_in_an_item_stay_out_of_the_cache(here: Path) -> None:
    server, _ = SERVERS
    assets = {
        "red": {
            "href": "red.tif?sig=SECRET",
            "type": "image/tiff",
            "alternate": {"s3": {"href": "s3://a:SECRET@b/c"}},
        }
    }
    written(
        server.folder / "signed.json",
        {**item("signed", assets, {}), "links": [{"href": "https://a.example/?key=SECRET"}]},
    )
    told(*tile(server.link("well", "signed.json?token=SECRET")))
    assert server.requests[-1]["path"] == "/well/red.tif?sig=SECRET"
    assert not [p for p in Path("cache").rglob("*") if p.is_file() and b"SECRET" in p.read_bytes()]


def test_a_table_of_items_comes_from_a_server_too(here: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    server, _ = SERVERS
    document = json.loads((server.folder / "item.json").read_text())
    rows = [{"id": name, "assets": document["assets"], **document["properties"]} for name in ("one", "two")]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), server.folder / "items.parquet")
    found = told(*tile(server.link("well", "items.parquet#two")))["tilesets"]
    assert [row["scene"] for row in found] == ["two"]


@pytest.mark.parametrize("signs", [False, True])
def test_objects_of_s3_come_as_they_are_or_signed_with_the_users_credentials(
    here: Path, monkeypatch: pytest.MonkeyPatch, signs: bool
) -> None:
    server, _ = SERVERS
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    for name in s3.CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    if signs:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
    told(*tile("s3://well/scene.tif"))
    query = server.requests[-1]["path"].partition("?")[2]
    assert ("X-Amz-Signature=" in query and "AKIAEXAMPLE%2F" in query) == signs and "SECRET" not in query
    assert not [p for p in Path("cache").rglob("*") if p.is_file() and b"AKIA" in p.read_bytes()]
    assert "server answered 403 for" in refused(2, *tile("s3://403/scene.tif"))


def test_public_objects_lie_on_the_servers_of_amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*s3.CREDENTIALS, "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert s3.address("s3://sentinel-cogs/a/B 1.tif") == "https://sentinel-cogs.s3.amazonaws.com/a/B%201.tif"
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert s3.address("s3://with.dots/a.tif") == "https://s3.us-west-2.amazonaws.com/with.dots/a.tif"


def test_obstore_alone_follows_a_redirect_to_another_host() -> None:
    obstore = pytest.importorskip("obstore")
    server, away = SERVERS
    store = obstore.store.HTTPStore.from_url(
        f"http://127.0.0.1:{server.port}", client_options={"allow_http": True}
    )
    before = len(away.requests)
    obstore.get(store, "to-host/scene.tif").bytes()
    assert len(away.requests) == before + 1
    away.log.write_text("")


def test_a_cache_that_is_full_or_none_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = SERVERS
    link = server.link("well", "scene.tif")
    monkeypatch.setattr(cache, "LARGEST", 5000)
    assert "remove what is not needed there, or choose another with --cache" in refused(2, *tile(link))
    assert held() == []
    monkeypatch.setattr(cache, "SMALLEST_DISK", 1 << 60)
    monkeypatch.setattr(cache, "LARGEST", 1 << 30)
    assert "has no room for" in refused(3, *tile(link))
    Path("file").write_text("")
    assert "cannot be written" in refused(3, *tile(link, "--cache", "file"))
