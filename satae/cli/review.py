"""The command `satae review`: a result in, a page on this machine until Ctrl-C, what was decided out."""

import getpass
import webbrowser
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satae.console import printable
from satae.errors import ConfigError
from satae.interrupts import tidying

if TYPE_CHECKING:
    from satae.review.store import Review

LABELS = "ship,vehicle,building,industry,earthwork,fire,water,cloud,artefact"


def review(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="GeoPackage of satae score or series.")],
    labels: Annotated[
        str,
        typer.Option(
            help="Names for the keys 1 to 9, between commas; the file remembers them.",
            show_default="those of last time, else " + LABELS.replace(",", ", "),
        ),
    ] = "",
    reviewer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Who decides, as column review_by keeps it.", show_default="the user"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port to listen on, 0 for any.",
            show_default="the same for a result each time, where it is free",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on: 0.0.0.0 lets other machines in, whoever has the link, as a container needs it.",
        ),
    ] = "127.0.0.1",
    link: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Show a link with each region: an address with {lat} and {lon}, opened when clicked.",
            show_default=False,
        ),
    ] = "",
    open_: Annotated[bool, typer.Option("--open", help="Open the link in the browser too.")] = False,
) -> None:
    """Look through the regions in a browser and decide, by keys: satae review anomalies.gpkg

    Prints a link that holds for this run and this machine; every decision is in the file at once. Ctrl-C ends it.
    """
    try:
        from satae.review.server import ready
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"satae review needs {error.name}, which is not installed; run pip install fastapi uvicorn"
        ) from error
    from satae.review.opinions import label_names
    from satae.review.store import Review

    names = label_names(labels) if labels else None
    with tidying(), closing(Review(result, reviewer if reviewer is not None else _user())) as opened:
        server = ready(opened, opened.labels(names, label_names(LABELS)), port, _template(link), host)
        try:
            typer.echo(server.keys.link)
            if open_:
                webbrowser.open(server.keys.link)
            typer.echo(f"open this link to review {printable(result.name)}; Ctrl-C ends it", err=True)
            if host != "127.0.0.1":
                typer.echo(
                    "the page is reachable under all addresses of this machine that --host covers, unencrypted: "
                    "whoever has the link can decide",
                    err=True,
                )
            server.run()
        except KeyboardInterrupt:
            typer.echo("", err=True)
        typer.echo(printable(_summary(opened)))


def _template(link: str) -> str:
    """An address with {lat} and {lon}; ConfigError where it is none."""
    if link and not (link.startswith(("https://", "http://")) and "{lat}" in link and "{lon}" in link):
        raise ConfigError(f"--link {link} is no address such as https://example.org/?lat={{lat}}&lon={{lon}}")
    return link


def _user() -> str:
    """The user's name; empty where the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _summary(review: "Review") -> str:
    """How far the review is."""
    _, entries = review.changes(0)
    counts = Counter(entry.opinion.status for entry in entries.values())
    open_, total = counts.pop("unreviewed", 0), len(entries)
    parts = [f"{number} {status}" for status, number in sorted(counts.items())]
    return f"{review.path}: {total - open_} of {total} reviewed" + (f" ({', '.join(parts)})" if parts else "")
