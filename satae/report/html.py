"""What every page of a report is made of: elements whose text is text and nothing else, one style, no request.

No script, no network, no file beside the page; pictures are inside.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import satae
from satae.console import printable
from satae.errors import OutputError
from satae.gis import qgis

STYLE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"


def document(title: str, styles: Iterable[Path] = (STYLE,)) -> tuple[Element, Element]:
    """A page without content, and the element that takes it."""
    # the classes of colour that QGIS has, so that page and map look alike
    colours = [f".c{i} {{ stroke: rgb({rgb}); }}" for i, (_, _, rgb, _, _) in enumerate(qgis.CLASSES)]
    style = "\n".join([*(path.read_text(encoding="utf-8") for path in styles), *colours])
    page, head = Element("html", {"lang": "en"}), Element("head")
    page.append(head)
    # the policy names the one style by its hash: nothing else can style the page, and no script runs
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    add(head, "meta", charset="utf-8")
    add(head, "meta", name="generator", content=f"satae {satae.__version__}")
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY.format(digest)}
    SubElement(head, "meta", policy)
    add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "meta", name="color-scheme", content="light dark")
    add(head, "title", title)
    add(head, "style").text = style
    return page, add(add(page, "body"), "main")


def store(page: Element, path: Path) -> None:
    """Write a page as one file."""
    # as HTML and not as XML: browsers would take an empty element for an open one
    text = "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"
    path.write_text(text, encoding="utf-8")


def add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """A new last child; `kind` is its class, and an underscore in a name a hyphen."""
    named = {"class" if k == "kind" else k.replace("_", "-"): printable(v) for k, v in attributes.items()}
    child = SubElement(parent, tag, named)
    child.text = printable(text)
    return child


def facts(parent: Element, told: Mapping[str, str]) -> None:
    """Terms and what they are, as a list."""
    listed = add(parent, "dl")
    for name, value in told.items():
        add(listed, "dt", name)
        add(listed, "dd", value)


def data(png: bytes) -> str:
    """A picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def path_of(out: Path) -> Path:
    """Where the report of a result lies."""
    return out.with_name(f"{out.stem}.html")


def check_target(target: Path) -> None:
    """Refuse to replace a page that satae did not write."""
    if target.is_file() and not is_ours(target):
        raise OutputError(
            f"{target} is a page that satae did not write; move it away, or choose another --out"
        )


def is_ours(target: Path) -> bool:
    """Whether there is a page that satae wrote."""
    if not target.is_file():
        return False
    with target.open("rb") as file:
        # it stands at the top of what `document` makes
        return b'<meta name="generator" content="satae' in file.read(1024)
