"""Names of files that a browser saves."""

from __future__ import annotations

import pytest

from backchat.web.downloads import attachment


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("Birds", "Birds.md", "Birds.md"),
        ("", "conversation.md", "conversation.md"),
        (". .", "conversation.md", "conversation.md"),
        ("../../etc/passwd", "-..-etc-passwd.md", "-..-etc-passwd.md"),
        (".hidden", "hidden.md", "hidden.md"),
        ("C:\\dir\\a", "C_-dir-a.md", "C%3A-dir-a.md"),
        ('say "hi"; x=1', "say _hi__ x_1.md", "say%20%22hi%22%3B%20x%3D1.md"),
        ("a\r\nSet-Cookie: b", "aSet-Cookie_ b.md", "aSet-Cookie%3A%20b.md"),
        ("\u00e9\u202e\U0001f30a", "__.md", "%C3%A9%F0%9F%8C%8A.md"),
        ("\ud83c", "conversation.md", "conversation.md"),
        ("x" * 500, "x" * 120 + ".md", "x" * 120 + ".md"),
    ],
)
def test_names(name: str, plain: str, whole: str) -> None:
    headers = attachment(name, ".md")
    assert headers["Content-Disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
    assert headers["X-Content-Type-Options"] == "nosniff"
