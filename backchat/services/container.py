"""The services of one app, as every dialect sees them."""

from __future__ import annotations

from dataclasses import dataclass

from backchat.services.accounts import Accounts
from backchat.services.archive import Archive
from backchat.services.assistants import Assistants
from backchat.services.catalogue import Catalogue
from backchat.services.conversations import Conversations
from backchat.services.documents import Documents
from backchat.services.exports import Exports
from backchat.services.forks import Forks
from backchat.services.imports import Imports
from backchat.services.memories import Memories
from backchat.services.providers import Providers
from backchat.services.runs import Runs
from backchat.services.sessions import Sessions
from backchat.services.shares import Shares
from backchat.services.tags import Tags
from backchat.services.titles import Titles
from backchat.services.trees import Trees
from backchat.services.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    accounts: Accounts
    archive: Archive
    assistants: Assistants
    catalogue: Catalogue
    conversations: Conversations
    documents: Documents
    exports: Exports
    forks: Forks
    imports: Imports
    memories: Memories
    providers: Providers
    runs: Runs
    sessions: Sessions
    shares: Shares
    tags: Tags
    titles: Titles
    trees: Trees
    turns: Turns
