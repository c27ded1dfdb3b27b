"""The services of one app, as every dialect sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backchat.services.access import Access
from backchat.services.accounts import Accounts
from backchat.services.adopting import Adopting
from backchat.services.archive import Archive
from backchat.services.assistants import Assistants
from backchat.services.catalogue import Catalogue
from backchat.services.conversations import Conversations
from backchat.services.documents import Documents
from backchat.services.exports import Exports
from backchat.services.forks import Forks
from backchat.services.grants import Grants
from backchat.services.imports import Imports
from backchat.services.ledger import Ledger
from backchat.services.memories import Memories
from backchat.services.providers import Providers
from backchat.services.publishing import Publishing
from backchat.services.runs import Runs
from backchat.services.sessions import Sessions
from backchat.services.shares import Shares
from backchat.services.tags import Tags
from backchat.services.titles import Titles
from backchat.services.toolbox import Toolbox
from backchat.services.transcriptions import Transcriptions
from backchat.services.translation import Translation
from backchat.services.trees import Trees
from backchat.services.turns import Turns
from backchat.services.vault import Vault
from backchat.services.vault_keys import VaultKeys
from backchat.services.windows import Windows
from backchat.services.workers import Workers
from backchat.services.workspace_conversations import WorkspaceConversations
from backchat.services.workspaces import Workspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """``agents`` are the names of the agents that can be chosen, ``none`` among them; ``strategies`` those of the
    memory strategies, ``default`` among them.
    """

    access: Access
    accounts: Accounts
    adopting: Adopting
    agents: Sequence[str]
    archive: Archive
    assistants: Assistants
    catalogue: Catalogue
    conversations: Conversations
    documents: Documents
    exports: Exports
    forks: Forks
    grants: Grants
    imports: Imports
    ledger: Ledger
    memories: Memories
    providers: Providers
    publishing: Publishing
    runs: Runs
    sessions: Sessions
    shares: Shares
    strategies: Sequence[str]
    tags: Tags
    titles: Titles
    toolbox: Toolbox
    transcriptions: Transcriptions
    translation: Translation
    trees: Trees
    turns: Turns
    vault: Vault
    vault_keys: VaultKeys
    windows: Windows
    workers: Workers
    workspace_conversations: WorkspaceConversations
    workspaces: Workspaces
