"""Every kind of record that the core stores; a storage backend is opened with these."""

from __future__ import annotations

from backchat.ports.storage import Kind
from backchat.services.account_records import API_KEY, USER
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.runlog import EVENT
from backchat.services.runstate import CANCEL, IDEMPOTENCY, RUN, WORKER
from backchat.services.stored import CONVERSATION, MESSAGE

KINDS: tuple[Kind, ...] = (
    USER,
    API_KEY,
    CONVERSATION,
    MESSAGE,
    FILE,
    FILE_CHUNK,
    RUN,
    EVENT,
    WORKER,
    CANCEL,
    IDEMPOTENCY,
)
