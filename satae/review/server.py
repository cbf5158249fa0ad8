"""Serves the page of `satae review` on this machine, to whoever holds the link; the only door to FastAPI.

It listens on 127.0.0.1 unless it is told another address. What it serves is named by integers, and nothing of the
result is sent as HTML. Who is let in says `guard`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import uvicorn
from fastapi import Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from satae import interrupts
from satae.errors import ConfigError, OutputError, ResultError, SceneError
from satae.gis.qgis import CLEAR_BELOW
from satae.review import exports, series
from satae.review.bands import USUAL, Look
from satae.review.guard import COOKIE, HOST, Guard, Keys
from satae.review.opinions import LONGEST_NOTE, Entry, Opinion
from satae.review.outlines import coordinates, outlines
from satae.review.pictures import View
from satae.review.ranking import ranking_of
from satae.review.remedies import hottest, remedies
from satae.review.store import ConflictError, LockedError, Review

PORTS = range(20_000, 32_000)
LARGEST_CHIP = 16 * 2**20
PNG = b"\x89PNG\r\n\x1a\n"
KEPT = {"cache-control": "private, max-age=3600"}  # pictures, which no run changes
SCRIPT = "text/javascript; charset=utf-8"
PAGE = {
    "index.html": "text/html; charset=utf-8",
    "review.css": "text/css; charset=utf-8",
    "review.js": SCRIPT,
    "api.js": SCRIPT,
    "closing.js": SCRIPT,
    "crowd.js": SCRIPT,
    "facts.js": SCRIPT,
    "list.js": SCRIPT,
    "looks.js": SCRIPT,
    "map.js": SCRIPT,
    "memory.js": SCRIPT,
    "opinions.js": SCRIPT,
    "progress.js": SCRIPT,
    "ranking.js": SCRIPT,
    "series.js": SCRIPT,
    "talk.js": SCRIPT,
    "waiting.js": SCRIPT,
    "words.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "vendor/ol.js": SCRIPT,
    "vendor/ol.css": "text/css; charset=utf-8",
}

Level = Annotated[int, InPath(ge=0, le=40)]
Place = Annotated[int, InPath(ge=0, le=2**31)]
Bands = Annotated[str, Query(pattern=r"^(\d{1,4},\d{1,4},\d{1,4})?$")]
Cut = Annotated[float, Query(ge=0, le=20, allow_inf_nan=False)]
Gamma = Annotated[float, Query(ge=0.2, le=3, allow_inf_nan=False)]


class Decision(BaseModel):
    """What the page sends: an opinion on a region, and the revision it was looked at."""

    model_config = ConfigDict(extra="forbid", strict=True)
    status: str = Field(max_length=20)
    label: str = Field(max_length=200)
    note: str = Field(max_length=LONGEST_NOTE)
    seen: int = Field(ge=0)


def application(review: Review, labels: tuple[str, ...], keys: Keys, link: str = "") -> Guard:
    """The page and what it asks for; `link` is an address with {lat} and {lon}, which is shown with each region."""
    app = FastAPI(title="satae review", docs_url=None, redoc_url=None, openapi_url=None)
    views = series.views(review)
    _explain_failures(app)
    _serve_page(app, keys)
    _serve_pictures(app, review, views)
    _serve_regions(app, review, views, labels, link)
    _serve_exports(app, review)
    series.serve(app, review, chip_of)
    return Guard(app, keys, PAGE)


def _explain_failures(app: FastAPI) -> None:
    """One sentence as JSON, whatever goes wrong for a reason that satae knows."""

    def said(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"error": sentence}, status)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        return said(422, f"the request is not understood: {error.errors()[0]['msg']}")

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> Response:
        return said(error.status_code, str(error.detail))

    @app.exception_handler(SceneError)
    def unreadable(_: Request, error: SceneError) -> Response:
        return said(500, str(error))

    @app.exception_handler(OutputError)
    def unwritten(_: Request, error: OutputError) -> Response:
        return said(507, str(error))

    @app.exception_handler(ResultError)
    def unfit(_: Request, error: ResultError) -> Response:
        return said(503 if isinstance(error, LockedError) else 400, str(error))


def _serve_page(app: FastAPI, keys: Keys) -> None:
    web = files("satae.review") / "web"
    content = {name: web.joinpath(*name.split("/")).read_bytes() for name in PAGE}

    @app.get("/")
    def index() -> Response:
        return Response(content["index.html"], media_type=PAGE["index.html"])

    @app.post("/session")
    def session() -> Response:
        answer = Response(status_code=204)
        answer.set_cookie(COOKIE, keys.cookie, httponly=True, samesite="strict", path="/")
        return answer

    def serving(name: str) -> Callable[[], Response]:
        return lambda: Response(content[name], media_type=PAGE[name])

    for name in PAGE:
        app.add_api_route(f"/{name}", serving(name), methods=["GET"])


def _serve_pictures(app: FastAPI, review: Review, views: list[View]) -> None:
    chips = {row["fid"]: row["chip"] for row in review.regions}
    folder = review.path.absolute().parent.resolve()

    @app.get("/chips/{fid}.png")
    def chip(fid: int) -> Response:
        return _picture(chip_of(folder, chips.get(fid)))

    @app.get("/scenes/{number}/picture/{level}/{row}/{col}.png")
    def picture(
        number: Place, level: Level, row: Place, col: Place, look: Annotated[Look, Depends(_look)]
    ) -> Response:
        return _picture(views[number].picture(level, row, col, look) if number < len(views) else None)

    @app.get("/scenes/{number}/bands")
    def bands(number: Place) -> Response:
        if number >= len(views):
            raise HTTPException(404, "there is no such scene")
        v = views[number]
        return _json({"names": [shown.name for shown in v.bands], "usual": v.usual_bands})

    @app.get("/scenes/{number}/heatmap/{level}/{row}/{col}.png")
    def heatmap(number: Place, level: Level, row: Place, col: Place) -> Response:
        return _picture(views[number].heatmap(level, row, col) if number < len(views) else None)


def _look(bands: Bands = "", cut: Cut = USUAL.cut, gamma: Gamma = USUAL.gamma) -> Look:
    return Look(tuple(map(int, bands.split(","))) if bands else (), cut, gamma)


def _picture(content: bytes | None) -> Response:
    if content is None:
        raise HTTPException(404, "there is no such picture")
    return Response(content, media_type="image/png", headers=KEPT)


def chip_of(folder: Path, name: str | None) -> bytes | None:
    """A PNG as a result names it, None where it is not one or does not lie below the result's folder."""
    if not name:
        return None
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder) or path.stat().st_size > LARGEST_CHIP or not path.is_file():
            return None
        content = path.read_bytes()
    except (OSError, ValueError):  # no such file, or a name that no file can have
        return None
    return content if content.startswith(PNG) else None


def _serve_regions(
    app: FastAPI, review: Review, views: list[View], labels: tuple[str, ...], link: str
) -> None:
    numbers = {v.name: i for i, v in enumerate(views)}
    at = coordinates(review.polygons, review.crs)
    shown = [
        r | {"scene": numbers.get(str(r["scene"] or ""), 0), "at": at.get(r["fid"])} for r in review.regions
    ]
    told = [_told(v, row) for v, row in zip(views, review.scenes, strict=True)]
    if not shown:  # the page says why; that reads each heatmap, which others need not
        told = [scene | {"hottest": hottest(v)} for scene, v in zip(told, views, strict=True)]
    content = {
        "name": review.path.name,
        # by which the page knows whether what waits there is for this file, and left by another run
        "result": _mark(review.path),
        "run": secrets.token_hex(8),
        "labels": labels,
        "clear": CLEAR_BELOW,
        "link": link,
        "commands": remedies(review),
        "exports": [kind for kind in exports.KINDS if kind != "geojson" or review.crs is not None],
        "scenes": told,
        "regions": shown,
    }
    drawn: dict[int, Any] = {}
    for number, v in enumerate(views):
        fids = [r["fid"] for r in shown if r["scene"] == number and r["fid"] in review.polygons]
        drawn |= outlines({fid: review.polygons[fid] for fid in fids}, v.placer(review.crs))
    measured, lines = _json(content).body, _json(drawn).body  # once, for there may be thousands

    @app.get("/regions")
    def regions() -> Response:
        return Response(measured, media_type="application/json")

    @app.get("/outlines")
    def places() -> Response:
        return Response(lines, media_type="application/json")

    @app.get("/changes")
    def changes(since: int) -> Response:
        return _json(_changes(review, since))

    @app.get("/ranking")
    def ranking() -> Response:
        return _json(asdict(ranking_of(review)))

    @app.post("/regions/{fid}")
    def decide(fid: int, decision: Decision) -> Response:
        opinion = Opinion(decision.status, decision.label, decision.note)
        try:
            return _json(_entry(review.decide(fid, opinion, seen=decision.seen)))
        except ConflictError as error:
            review.changes(0)
            return _json({"error": str(error)} | _changes(review, decision.seen), 409)


def _serve_exports(app: FastAPI, review: Review) -> None:
    @app.get("/accepted.{kind}")
    def accepted(kind: str) -> Response:
        if kind not in exports.KINDS:
            raise HTTPException(404, "there is no such file")
        content = exports.file_of(review.path, kind)
        # a name of the file's own, which may hold anything
        name = quote(f"{review.path.stem}_accepted.{kind}")
        given = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(content, media_type=exports.KINDS[kind], headers=given)


def _told(v: View, row: dict[str, Any]) -> dict[str, Any]:
    """A scene for the page; `transform` is (a, b, c, d, e, f) of map coordinates from (col, row)."""
    grid, first = v.grid, v.heat or v.scene
    size = {"width": grid.width, "height": grid.height, "transform": list(grid.transform)[:6]} if grid else {}
    return {
        "name": v.name, "kind": row["kind"], "remarks": v.remarks, "gsd_m": row["gsd_m"], "rule": row["rule"],
        "threshold": row["threshold"], "domain": row["domain"], "domain_note": row["domain_note"],
        "picture": v.scene is not None, "heat": v.heat is not None,
        "top": v.top if v.heat else None, "levels": first.levels if first else 0, **size,
    }  # fmt: skip


def _changes(review: Review, since: int) -> dict[str, Any]:
    revision, entries = review.changes(since)
    return {"revision": revision, "opinions": {fid: _entry(entry) for fid, entry in entries.items()}}


def _entry(entry: Entry) -> dict[str, Any]:
    said = entry.opinion
    who = {"by": entry.by, "time": entry.time}
    return {"status": said.status, "label": said.label, "note": said.note, "revision": entry.revision} | who


def _json(content: Any, status: int = 200) -> Response:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Response(text, status, media_type="application/json")


@dataclass(frozen=True)
class Server:
    """A page that is ready to be served until its process is interrupted; `run` returns then."""

    keys: Keys
    _listener: socket.socket
    _server: uvicorn.Server

    def run(self) -> None:
        """Serve until a signal or `stop`."""
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Let `run` return."""
        self._server.should_exit = True


def ready(
    review: Review,
    labels: tuple[str, ...],
    port: int | None = None,
    link: str = "",
    host: str = HOST,
) -> Server:
    """A server that listens already; on the result's own port where none is given and that is free, 0 for any.

    ConfigError where another program listens on the port that is given, or `host` is no address of this machine.
    """
    listener = _listening(host, port, review.path)
    keys = Keys(listener.getsockname()[1], host=host)
    app = application(review, labels, keys, link)
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", http=app.connections,  # type: ignore[arg-type]
        server_header=False, date_header=False, proxy_headers=False, h11_max_incomplete_event_size=2**16,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    return Server(keys, listener, _Heeding(config))


def own_port(path: Path) -> int:
    """The port of a result's page in every run: what waits in a browser is kept for one port.

    Systems give out none of these by themselves.
    """
    return PORTS[int(_mark(path), 16) % len(PORTS)]


def _mark(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def _listening(host: str, port: int | None, path: Path) -> socket.socket:
    # an address with colons is one of IPv6
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in [own_port(path), 0] if port is None else [port]:
        try:
            return socket.create_server((host, tried), family=family)
        except OSError as error:
            fault, asked = error, tried
    raise ConfigError(
        f"port {asked} of {host} cannot be listened on: {fault.strerror}; choose another --port or --host"
    ) from fault


class _Heeding(uvicorn.Server):
    """A server that heeds an interrupt which came before it listened to signals itself."""

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or interrupts.is_pending()
