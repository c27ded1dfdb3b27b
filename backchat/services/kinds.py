"""Every kind of record that the core stores; a storage backend is opened with these."""

from __future__ import annotations

from backchat.ports.storage import Kind
from backchat.services.account_records import API_KEY, USER
from backchat.services.assistant_records import ASSISTANT
from backchat.services.blobs import BLOB, BLOB_CHUNK
from backchat.services.copying_records import COPYING
from backchat.services.document_records import CHUNK, DOCUMENT, VECTORS
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.import_records import IMPORT
from backchat.services.jobs import JOB
from backchat.services.memory_records import MEMORY, MEMORY_OPERATION, MEMORY_RESET, MEMORY_VECTOR
from backchat.services.public_links import PUBLIC_LINK
from backchat.services.runlog import EVENT
from backchat.services.runstate import CANCEL, IDEMPOTENCY, RUN, WORKER
from backchat.services.session_records import SESSION, SIGNING
from backchat.services.share_records import SHARE
from backchat.services.stored import CONVERSATION, MESSAGE
from backchat.services.summary_records import SUMMARY
from backchat.services.tag_records import TAG
from backchat.services.usage_records import SPENDING, USAGE
from backchat.services.vault_records import CONTENT, COUNTER, ENTRY, KEYRING, NONCE, VERSION
from backchat.services.windows import RATE
from backchat.services.workspace_records import MEMBERSHIP, WORKSPACE

KINDS: tuple[Kind, ...] = (
    USER,
    API_KEY,
    ASSISTANT,
    CONVERSATION,
    MESSAGE,
    SUMMARY,
    FILE,
    FILE_CHUNK,
    RUN,
    EVENT,
    WORKER,
    CANCEL,
    IDEMPOTENCY,
    MEMORY,
    MEMORY_VECTOR,
    MEMORY_OPERATION,
    MEMORY_RESET,
    JOB,
    DOCUMENT,
    CHUNK,
    VECTORS,
    BLOB,
    BLOB_CHUNK,
    TAG,
    SHARE,
    IMPORT,
    SESSION,
    SIGNING,
    WORKSPACE,
    MEMBERSHIP,
    PUBLIC_LINK,
    USAGE,
    SPENDING,
    KEYRING,
    COUNTER,
    ENTRY,
    VERSION,
    CONTENT,
    NONCE,
    RATE,
    COPYING,
)

COPIED: tuple[str, ...] = tuple(sorted([kind.name for kind in KINDS if kind not in (COPYING, WORKER)]))
"""What a copy of a store holds, in the order in which it is read. No server of the one is a server of the other: what
one of them was working on, those of the copy take for orphaned.
"""
LARGE = frozenset([FILE_CHUNK.name, BLOB_CHUNK.name, CONTENT.name, VECTORS.name])
"""Kinds with records of a megabyte and more, so that nobody reads many of them at once."""
