"""Scenes on servers: what is fetched, from whom and how often, what stays in the cache, and what a bad server gets."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from catalogues import collection, earth_search, written
from commands import refused, told, typed
from deliveries import raster
from servers import Server, serving

from satae.fetch import cache, links, s3, web

RNG = np.random.default_rng(5)
GROUND = {name: RNG.integers(1100, 4000, (48, 64)) for name in ("blue", "green", "red", "nir")}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A server of an item, its files and collections of it, and another one to which that redirects."""
    folder, logs = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("logs")
    path = earth_search(folder, GROUND, classes=np.full((24, 32), 4), id="item")
    document = json.loads(path.read_text())
    other = written(folder / "other.json", {**document, "id": "other"})
    collection(folder / "items.json", [path, other])
    raster(folder / "scene.tif", RNG.integers(1, 255, (3, 64, 64)).astype(np.uint8), 10)
    with serving(folder, logs / "away") as away, serving(folder, logs / "here", away.port) as here:
        yield here, away


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits as long as in earnest."""
    monkeypatch.setattr(cache, "PAUSE", 0.01)
    monkeypatch.setattr(web, "PATIENCE", 0.4)


def tile(link: object, *more: object) -> tuple[object, ...]:
    return ("tile", link, "--size", 32, "--allow-network", "--cache", "cache", "--overwrite", *more)


def held(folder: Path = Path("cache")) -> list[str]:
    """The names of what the cache holds, hidden files too."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_without_the_option_nothing_connects_and_the_sentence_names_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
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
    for link in ("https://a.example/x.tif?sig=SECRET", "s3://bucket/x.tif", "http://u:SECRET@a.example/i.json", remote):
        for command in (("tile", link), ("score", link, "--model", "none.onnx")):
            if command[0] == "score":
                continue
            text = refused(2, *command)
            assert "--allow-network" in text and "SECRET" not in text
    assert told("tile", path, "--size", 32)["tilesets"][0]["tiles"] == 4
    assert not (here / "cache").exists()


def test_an_item_is_fetched_with_the_files_of_its_usual_bands_and_masks_and_no_others(
    here: Path, servers: tuple[Server, Server]
) -> None:
    server, away = servers
    before = len(server.requests)
    told(*tile(server.link("well", "item.json")))
    asked = [r["path"] for r in server.requests[before:]]
    assert asked == [f"/well/{n}" for n in ("item.json", *(f"{b}.tif" for b in GROUND), "SCL.tif")]
    tiles = np.load("tiles/item/tiles.npy")
    assert np.array_equal(tiles[0], [image[:32, :32] - 1000 for image in GROUND.values()])
    told(*tile(server.link("well", "item.json"), "--bands", "red"))
    assert away.requests == []


def test_what_is_in_the_cache_is_asked_for_but_not_fetched_again(here: Path, servers: tuple[Server, Server]) -> None:
    server, _ = servers
    for _ in range(2):
        before = len(server.requests)
        told(*tile(server.link("well", "scene.tif?sig=SECRET")))
    (again,) = server.requests[before:]
    assert "if-none-match" in again and held() == [".scene.tif.json", "scene.tif"]
    assert all("SECRET" not in p.read_text() for p in Path("cache").rglob("*.json"))


def test_items_of_a_collection_and_one_by_its_id(here: Path, servers: tuple[Server, Server]) -> None:
    server, _ = servers
    every = told(*tile(server.link("well", "items.json")))["tilesets"]
    assert [row["scene"] for row in every] == ["item", "other"]
    one = told(*tile(server.link("well", "items.json#other")))["tilesets"]
    assert [row["scene"] for row in one] == ["other"]
    assert "no STAC item of the id 'none'" in refused(2, *tile(server.link("well", "items.json#none")))


def test_a_local_item_gets_its_assets_by_address_and_its_own_folder_stays_as_it_is(
    here: Path, servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = servers
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
        ("packed", "packed, which was not asked for", 1),
        ("trickles", "too slowly", 4),
    ],
)
def test_what_a_bad_server_does_is_one_sentence_and_nothing_is_left(
    here: Path, servers: tuple[Server, Server], how: str, sentence: str, requests: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server, away = servers
    # each asks for a name of its own, for the server counts
    link = server.link(how, "scene.tif")
    before = len(server.requests)
    text = refused(2, *tile(link + "?token=SECRET"))
    assert __import__("re").search(sentence, text), text
    assert "SECRET" not in text and len(server.requests) - before == requests
    assert [n for n in held() if not n.endswith(".lock")] == ([".scene.tif.part", ".scene.tif.part.json"] if "go on" in text else [])
    assert away.requests == [] and not Path("tiles").exists()
