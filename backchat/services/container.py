"""The services of one app, as every dialect sees them."""

from __future__ import annotations

from dataclasses import dataclass

from backchat.services.accounts import Accounts
from backchat.services.assistants import Assistants
from backchat.services.catalogue import Catalogue
from backchat.services.conversations import Conversations
from backchat.services.documents import Documents
from backchat.services.memories import Memories
from backchat.services.providers import Providers
from backchat.services.runs import Runs
from backchat.services.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    accounts: Accounts
    assistants: Assistants
    catalogue: Catalogue
    conversations: Conversations
    documents: Documents
    memories: Memories
    providers: Providers
    runs: Runs
    turns: Turns
