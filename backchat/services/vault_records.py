"""How the vault is stored: the declared kinds, and from value to record and back. There is sealed content only.

An entry's record is found by what it is of. What hangs on it, its versions and their contents, is under the entry's
number as well, its ``lineage``: when a conversation is deleted and pushed again, its record begins at version 1 again,
and whoever still has the old one in hand must not take the new one for it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from backchat.domain.times import moment, stamp
from backchat.domain.vault import SealedContent, SealedText, VaultEntry, VaultVersion
from backchat.ports.storage import Kind, Put, Record
from backchat.sealing.binary import from_text, to_text

KEYRING = Kind(name="vault_keyring", fields=("owner",), indexes=(("owner",),), partition="owner")
"""Of each user the vault keys, for their holders: see ``keyrings``. Its id is the user's."""
COUNTER = Kind(name="vault_counter", fields=("owner",), indexes=(("owner",),), partition="owner")
"""Of each user the number that their newest entry has got. Its id is the user's."""
ENTRY = Kind(
    name="vault_entry",
    fields=("owner", "number", "platform", "chat", "category", "updated"),
    lists=("tags",),
    text=("title", "topic"),
    within=("owner",),
    facets=("platform", "category", "tags"),
    indexes=(
        ("owner", "updated", "number"),
        ("owner", "platform", "updated", "number", "category"),
        ("owner", "category", "updated", "number", "platform"),
        ("owner", "chat", "updated", "number"),
    ),
    unique=(("owner", "number"),),
    partition="owner",
)
VERSION = Kind(
    name="vault_version",
    fields=("owner", "entry", "number"),
    indexes=(("owner", "entry", "number"),),
    partition="owner",
)
CONTENT = Kind(
    name="vault_content",
    fields=("owner", "entry", "number"),
    indexes=(("owner", "entry", "number"),),
    partition="owner",
)
"""The sealed content of a version, under its id: apart from it, so that a list of versions reads none."""
NONCE = Kind(name="vault_nonce", fields=("owner",), indexes=(("owner",),), partition="owner")
"""An IV that was used, and a digest of what with: it stays when its version is deleted, for copies may be anywhere."""


VERSION_WEIGHT = 256
"""Bytes that stand for what a version weighs apart from its content."""


def entry_id(owner: str, platform: str, chat: str) -> str:
    """The id of the record of an entry: who it is by its identity can be looked up, and is there once."""
    return _digest(owner, platform, chat)


def lineage(e: VaultEntry) -> str:
    """What the versions of an entry know it by: not what those of an entry that was there before it were under."""
    return f"{e.id}.{e.number}"


def version_id(lineage: str, number: int) -> str:
    """The id of the records of a version and of its content."""
    return f"{lineage}.{number}"


def latest_id(e: VaultEntry) -> str:
    return version_id(lineage(e), e.latest)


def nonce_id(owner: str, key: str | None, iv: bytes) -> str:
    return _digest(owner, "" if key is None else key, iv.hex())


def _digest(*parts: str) -> str:
    written = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.sha256(written.encode()).hexdigest()[:40]


def counter_put(owner: str, last: int, expect: int) -> Put:
    """``last`` is the number that the owner's newest entry has got; ``expect`` the version of the record, 0: none."""
    return Put(COUNTER.name, owner, {"owner": owner, "last": last}, expect)


def nonce_put(owner: str, key: str | None, iv: bytes, digest: str) -> Put:
    """Keep that an IV has been used, with data of this SHA-256. Stale if it has been already."""
    return Put(NONCE.name, nonce_id(owner, key, iv), {"owner": owner, "digest": digest}, 0)


def entry_put(e: VaultEntry) -> Put:
    """Store an entry as the successor of the version of the record that it carries; 0 is a new one."""
    doc: dict[str, Any] = {
        "owner": e.owner,
        "number": e.number,
        "chat": e.chat,
        "platform": e.platform,
        "title": e.title,
        "category": e.category,
        "topic": e.topic,
        "tags": list(e.tags),
        "model": e.model,
        "latest": e.latest,
        "oldest": e.oldest,
        "messages": e.messages,
        "hash": e.content_hash,
        "key": e.key,
        "size": e.size,
        "created": stamp(e.created_at),
        "updated": stamp(e.updated_at),
    }
    return Put(ENTRY.name, e.id, doc, e.version)


def entry_of(record: Record) -> VaultEntry:
    d = record.doc
    return VaultEntry(
        id=record.id,
        owner=d["owner"],
        number=d["number"],
        chat=d["chat"],
        platform=d["platform"],
        title=d["title"],
        category=d["category"],
        topic=d["topic"],
        tags=tuple(d["tags"]),
        model=d["model"],
        latest=d["latest"],
        oldest=d["oldest"],
        messages=d["messages"],
        content_hash=d["hash"],
        key=d["key"],
        size=d["size"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        version=record.version,
    )


def version_puts(v: VaultVersion, content: SealedContent) -> list[Put]:
    """Store a version that is new, with its content."""
    place = {"owner": v.owner, "entry": v.entry, "number": v.number}
    doc = {
        **place,
        "messages": v.messages,
        "hash": v.content_hash,
        "key": v.key,
        "model": v.model,
        "token": v.token,
        "size": v.size,
        "created": stamp(v.created_at),
    }
    sealed = {**place, "iv": to_text(content.iv), "data": to_text(content.data)}
    id = version_id(v.entry, v.number)
    return [Put(VERSION.name, id, doc, 0), Put(CONTENT.name, id, sealed, 0)]


def version_of(record: Record) -> VaultVersion:
    d = record.doc
    return VaultVersion(
        entry=d["entry"],
        owner=d["owner"],
        number=d["number"],
        messages=d["messages"],
        content_hash=d["hash"],
        key=d["key"],
        model=d["model"],
        token=d["token"],
        size=d["size"],
        created_at=moment(d["created"]),
    )


def content_of(record: Record) -> SealedContent:
    return SealedContent(from_text(record.doc["iv"]), from_text(record.doc["data"]))


def text_of(record: Record) -> SealedText:
    return SealedText(record.doc["iv"], record.doc["data"])
