"""The XML that QGIS keeps its settings in: elements, typed options, expressions. It knows nothing of layers."""

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"

Value = str | bool | int | float | Sequence["Value"] | Mapping[str, "Value"]


def data_defined(parent: Element, tag: str, expressions: Mapping[str, str]) -> None:
    """An element of expressions that overrule properties of a symbol or label."""
    rules = {key: _expression(text) for key, text in expressions.items()}
    add(parent, tag).append(option({"name": "", "properties": rules, "type": "collection"}))


def _expression(text: str) -> Mapping[str, Value]:
    return {"active": True, "expression": text, "type": 3}


def option(value: Value, name: str = "") -> Element:
    """QGIS's typed tree of settings (QgsXmlUtils::writeVariant)."""
    element = Element("Option", {"name": name} if name else {})
    if isinstance(value, Mapping):
        element.set("type", "Map")
        element.extend(option(item, key) for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        element.set("type", "List")
        element.extend(option(item) for item in value)
    else:
        element.set("type", {bool: "bool", int: "int", float: "double"}.get(type(value), "QString"))
        element.set("value", str(value).lower() if isinstance(value, bool) else str(value))
    return element


def add(parent: Element, tag: str, attributes: Mapping[str, str] | None = None, text: str = "") -> Element:
    """A new last child."""
    child = SubElement(parent, tag, dict(attributes or {}))
    child.text = text or None
    return child


def document(root: Element) -> str:
    """The whole as text, with QGIS's document type."""
    indent(root, " ")
    return DOCTYPE + tostring(root, encoding="unicode") + "\n"
