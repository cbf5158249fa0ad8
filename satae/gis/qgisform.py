"""What QGIS says of a row: the edit form for the review, its title, the map tip with the chip, the table's columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from satae.gis.columns import LAYERS, REVIEW_STATUSES
from satae.gis.qgisxml import Value, add, option

FORM = {
    "review": "review_status review_label review_note",
    "anomaly": "chip rank scene kind score feedback p_value area_m2 pixels top_band band_shares spectral_share "
    "baseline baseline_score baseline_p peak mean anomaly_id review_by review_time",
}

# what sorts the rows of each layer, and the title of one
TABLES = {
    "anomalies": ('"rank"', "'#' || \"rank\" || '  ' || \"scene\""),
    "scenes": ('"scene"', '"scene"'),
    "tiles": ('-"score"', '"scene" || \'  row \' || "row" || \', column \' || "col"'),
}
TECHNICAL = {
    "fid",
    "signature",
    "band_shares",
    "chip",
    "model_sha256",
    "provider",
    "crs",
    "domain_note",
}  # no columns

DECIDED = {"review_by": "@user_account_name", "review_time": "format_date(now(), 'yyyy-MM-ddTHH:mm:ss')"}

FOLDER = "file_path(decode_uri(@layer, 'path'))"  # of the GeoPackage, whatever project shows it


def html_of(expression: str) -> str:
    """An expression for a text that may hold anything, as HTML that shows it."""
    return f"replace({expression}, map('&', '&amp;', '<', '&lt;'))"  # in the order of the characters' codes


def _url(expression: str) -> str:
    """An expression for a path, as the path of a URL."""
    percent = f"replace({expression}, '%', '%25')"  # first, on its own: the others add more of it
    return f"replace({percent}, map('#', '%23', '?', '%3F', '\"', '%22', '<', '%3C', '>', '%3E', '&', '%26'))"


PATH = f"regexp_replace({FOLDER}, '^/', '') || '/' || " + '"chip"'
FOLDER_CHIP = f"""'<br><img src="file:///' || {_url(PATH)} || '">'"""
MAP_TIP = f"""<b>Anomaly [% "rank" %]</b> [% {html_of('"scene"')} %], [% {html_of('"kind"')} %]<br>
score [% format_number("score", 2) %],
p [% round("p_value" * 10 ^ ceil("score"), 1) || 'e-' || ceil("score") %]
[% coalesce('(' || {html_of('"baseline"')} || ' ' || format_number("baseline_score", 2) || ')', '') %]<br>
area [% format_number("area_m2", 0) %] m², [% "pixels" %] pixels<br>
strongest in [% {html_of('"top_band"')} %]\
[% coalesce(', ' || round(100 * "spectral_share") || ' % spectral', '') %]<br>
[% {html_of('"review_status"')} %] [% {html_of('"review_label"')} %] [% {html_of('"review_note"')} %]
[% coalesce({FOLDER_CHIP}, '') %]"""


@dataclass(frozen=True)
class Sheet:
    """What is told of the rows of a layer: names for people by column, what sorts rows, the title of one.

    Of regions also the groups of the form with their columns, and the map tip.
    """

    names: Mapping[str, str]
    order: str
    title: str
    form: Mapping[str, str] = field(default_factory=dict)
    tip: str = ""


SHEETS = {
    layer: Sheet(
        {column.name: column.alias for column in LAYERS[layer].values()},
        *TABLES[layer],
        *((FORM, MAP_TIP) if layer == "anomalies" else ()),
    )
    for layer in TABLES
}


def fill(parent: Element, sheet: Sheet) -> None:
    """Names with units, a table of what people read, and a title for each row; of regions the form and the tip."""
    aliases = add(parent, "aliases")
    for index, (name, alias) in enumerate(sheet.names.items()):
        add(aliases, "alias", {"field": name, "index": str(index), "name": alias})
    table = add(parent, "attributetableconfig", {"sortExpression": sheet.order, "sortOrder": "0"})
    columns = add(table, "columns")
    for name in ("fid", *sheet.names):
        hidden = "1" if name in TECHNICAL else "0"
        add(columns, "column", {"type": "field", "name": name, "hidden": hidden, "width": "-1"})
    add(columns, "column", {"type": "actions", "hidden": "1", "width": "-1"})
    add(parent, "previewExpression", text=sheet.title)
    if sheet.form:
        _form(parent, sheet)


def _form(parent: Element, sheet: Sheet) -> None:
    """The review's fields first and open to change; what was measured is locked."""
    widgets = add(parent, "fieldConfiguration")
    _widget(widgets, "review_status", "ValueMap", {"map": [{status: status} for status in REVIEW_STATUSES]})
    _widget(widgets, "review_label", "TextEdit", {"IsMultiline": False, "UseHtml": False})
    _widget(widgets, "review_note", "TextEdit", {"IsMultiline": True, "UseHtml": False})
    _widget(widgets, "chip", "ExternalResource", PICTURE)
    _widget(widgets, "rank", "TextEdit", {"IsMultiline": False, "UseHtml": False})  # not a grey spin box
    if "signature" in sheet.names:
        _widget(widgets, "band_shares", "TextEdit", {"IsMultiline": True, "UseHtml": False})
        _widget(widgets, "signature", "Hidden", {})
    # who changes a region here has decided last, as in `satae review`
    defaults = add(parent, "defaults")
    for name, expression in DECIDED.items():
        add(defaults, "default", {"field": name, "expression": expression, "applyOnUpdate": "1"})
    add(parent, "editorlayout", text="tablayout")
    form, editable = add(parent, "attributeEditorForm"), add(parent, "editable")
    for group, fields in sheet.form.items():
        frame = {"name": group, "groupBox": "1", "columnCount": "1", "showLabel": "1"}
        container = add(form, "attributeEditorContainer", frame)
        for name in fields.split():
            add(container, "attributeEditorField", {"name": name, "index": "-1", "showLabel": "1"})
            add(editable, "field", {"name": name, "editable": "1" if group == "review" else "0"})
    add(parent, "mapTip", text=sheet.tip)


ROOT: dict[str, Value] = {"active": True, "expression": FOLDER, "type": 3}
PICTURE: dict[str, Value] = {
    "DocumentViewer": 1,  # a picture
    "DocumentViewerHeight": 128,
    "DocumentViewerWidth": 0,
    "FileWidget": False,
    "RelativeStorage": 2,  # to the root below
    "StorageMode": 0,
    "PropertyCollection": {"name": "", "properties": {"propertyRootPath": ROOT}, "type": "collection"},
}


def _widget(parent: Element, field: str, kind: str, settings: Mapping[str, Value]) -> None:
    widget = add(add(parent, "field", {"name": field}), "editWidget", {"type": kind})
    add(widget, "config").append(option(settings))
