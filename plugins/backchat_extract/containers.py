"""What office documents are packed in: zip archives now, compound files (OLE) before."""

from __future__ import annotations

import io
from zipfile import BadZipFile, ZipFile

from backchat.ports.extraction import Unreadable

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
PROTECTED = "it is protected with a password"
DAMAGED = "its text could not be read: it is damaged"
MOST = 256 << 20
"""Bytes that the parts of a packed document may unpack to."""
TOO_MUCH = f"it unpacks to more than can be read ({MOST >> 20} MiB)"


def unzipped(data: bytes, folder: str, what: str) -> ZipFile:
    """The archive that a modern office document is, with its parts in ``folder``.

    Raises Unreadable, naming ``what`` the file is not. Nothing is ever unpacked to a disk.
    """
    if data.startswith(OLE) and holds_stream(data, "EncryptedPackage"):
        raise Unreadable(PROTECTED)
    if not data.startswith(b"PK"):
        raise Unreadable(f"the file is not {what}")
    try:
        archive = ZipFile(io.BytesIO(data))
    except BadZipFile:
        raise Unreadable(DAMAGED) from None
    parts = archive.infolist()
    if not any(part.filename.startswith(folder) for part in parts):
        raise Unreadable(f"the file is not {what}")
    if sum(part.file_size for part in parts if part.filename.endswith((".xml", ".rels"))) > MOST:
        raise Unreadable(TOO_MUCH)
    return archive


def holds_stream(data: bytes, name: str) -> bool:
    """Whether a compound file has a stream of that name; names in its directory are UTF-16."""
    return name.encode("utf-16-le") + b"\x00\x00" in data
