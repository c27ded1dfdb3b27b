"""Names and types of files as clients give them, made safe to keep and to show."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from backchat.errors import InvalidInput

LENGTH = 255
# Control characters, those that turn the direction of text, and halves of characters.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
# fmt: off
IMAGES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".bmp": "image/bmp", ".tiff": "image/tiff", ".tif": "image/tiff",
}
SOUNDS = {
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".m4a": "audio/mp4", ".ogg": "audio/ogg", ".flac": "audio/flac",
    ".aac": "audio/aac",
}
FILMS = {
    ".mp4": "video/mp4", ".mov": "video/quicktime", ".avi": "video/x-msvideo", ".mkv": "video/x-matroska",
    ".mpeg": "video/mpeg", ".mpg": "video/mpeg", ".webm": "video/webm",
}
MEDIA = IMAGES | SOUNDS | FILMS
TEXTS = frozenset((
    ".pdf", ".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx", ".txt", ".csv", ".md", ".markdown", ".json", ".jsonl",
    ".xml", ".py", ".js", ".ts", ".jsx", ".tsx", ".html", ".css", ".cpp", ".c", ".h", ".java", ".go", ".rs", ".rb",
    ".php", ".sql",
))
"""What the published clients upload, whether this server can read it or not."""
_SEEN = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
# fmt: on


def suffix_of(filename: str) -> str:
    """``.pdf`` of ``Report.PDF``; empty if there is none."""
    return PurePosixPath(filename).suffix.lower()


def kept_name(filename: str) -> str:
    """The name without folders and unseen characters, of at most 255, its end kept. Raises InvalidInput."""
    name = _UNSEEN.sub("", re.split(r"[/\\]", filename)[-1]).strip()
    if not name.strip("."):
        raise InvalidInput("the file has no name", field="body.file")
    if len(name) > LENGTH:
        end = suffix_of(name)[:32]
        name = name[: LENGTH - len(end)] + end
    return name


def kept_type(mime: str, filename: str) -> str:
    """The media type as given, without parameters; if that is none, by the end of the name."""
    given = mime.partition(";")[0].strip().lower()
    if _MIME.fullmatch(given) and given != "application/octet-stream":
        return given
    return MEDIA.get(suffix_of(filename), "application/octet-stream")


def image_type(data: bytes) -> str | None:
    """Which of the sorts of images that models see this is, by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for mark, mime in _SEEN if data.startswith(mark)), None)
