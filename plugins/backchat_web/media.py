"""The types of what can be read of the web."""

from __future__ import annotations

HTML = ("text/html", "application/xhtml+xml")
PDF = "application/pdf"
_TEXT = ("application/json", "application/xml", "application/javascript", "application/yaml", "application/toml")


def is_text(type: str) -> bool:
    """Whether what has this media type, in lower case and without parameters, is text of some kind."""
    return type in (*HTML, *_TEXT) or type.startswith("text/") or type.endswith(("+json", "+xml"))
