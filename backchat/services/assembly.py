"""The services over opened components: the one place that knows how they depend on each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.limits import DocumentLimits, ImportLimits, Retention, SessionTimes, Titling, VaultLimits
from backchat.domain.usage import Credits
from backchat.ports.agents import Agent
from backchat.ports.extraction import Extractor
from backchat.ports.importing import Importer
from backchat.ports.learning import Learner
from backchat.ports.memory import DEFAULT, MemoryStrategy
from backchat.ports.metrics import Meter
from backchat.ports.storage import RecordStore
from backchat.ports.transcription import Transcriber
from backchat.services.access import Access, Authorize, by_table
from backchat.services.accounts import Accounts
from backchat.services.adopting import Adopting
from backchat.services.archive import Archive
from backchat.services.assistants import Assistants, Clearing
from backchat.services.calls import Calls
from backchat.services.catalogue import Catalogue
from backchat.services.container import Services
from backchat.services.conversations import Conversations
from backchat.services.describing import describer
from backchat.services.documents import Documents
from backchat.services.embedders import Embedders
from backchat.services.engine import Engine
from backchat.services.exports import Exports
from backchat.services.forks import Forks
from backchat.services.grants import Grants
from backchat.services.grounding import Grounding
from backchat.services.imports import Imports
from backchat.services.jobs import Jobs
from backchat.services.learning import Learning
from backchat.services.ledger import Ledger
from backchat.services.memories import TOPIC as MEMORY_TOPIC
from backchat.services.memories import Memories
from backchat.services.providers import Providers
from backchat.services.publishing import Publishing
from backchat.services.retention import Keeper
from backchat.services.retrieval import Retrieval
from backchat.services.runs import Runs, RunTimes
from backchat.services.sessions import Sessions
from backchat.services.shares import Shares
from backchat.services.strategies import Strategies
from backchat.services.summaries import TOPIC as SUMMARY_TOPIC
from backchat.services.summaries import Summaries
from backchat.services.tags import Tags
from backchat.services.titles import TOPIC as TITLE_TOPIC
from backchat.services.titles import Titles
from backchat.services.toolbox import Offered, Toolbox
from backchat.services.transcriptions import Transcriptions
from backchat.services.translation import Translation
from backchat.services.trees import Trees
from backchat.services.turns import Turns
from backchat.services.upgrades import Upgrades
from backchat.services.vault import Vault
from backchat.services.vault_keys import VaultKeys
from backchat.services.windows import Windows
from backchat.services.workers import Workers
from backchat.services.workspace_conversations import WorkspaceConversations
from backchat.services.workspaces import Workspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the configuration opened. ``new_id`` gives ids that grow with time.

    ``memory`` is the strategy that holds where nobody chose one of ``strategies``.
    """

    store: RecordStore
    providers: Providers
    memory: MemoryStrategy
    learner: Learner
    meter: Meter
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    strategies: Mapping[str, MemoryStrategy] = field(default_factory=dict)
    embedders: Embedders = field(default_factory=Embedders)
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    importers: Sequence[Importer] = ()
    limits: DocumentLimits = field(default_factory=DocumentLimits)
    titles: Titling = field(default_factory=Titling)
    retention: Retention = field(default_factory=Retention)
    imports: ImportLimits = field(default_factory=ImportLimits)
    sessions: SessionTimes = field(default_factory=SessionTimes)
    vault: VaultLimits = field(default_factory=VaultLimits)
    credits: Credits = field(default_factory=Credits)
    tools: Sequence[Offered] = ()
    agents: Mapping[str, Agent] = field(default_factory=dict)
    transcriber: Transcriber | None = None
    authorize: Authorize = by_table
    times: RunTimes = field(default_factory=RunTimes)


@asynccontextmanager
async def assembled(parts: Parts) -> AsyncIterator[Services]:
    """The services at work. At the end, what still runs is interrupted, and jobs are left to the next process."""
    services, workers, jobs, _ = assemble(parts)
    keeper = Keeper(parts.store, services.conversations, parts.retention, parts.now)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(services.ledger)
        await stack.enter_async_context(services.catalogue)
        await stack.enter_async_context(services.runs.news)
        await stack.enter_async_context(workers)
        await stack.enter_async_context(jobs)
        await stack.enter_async_context(services.imports)
        await stack.enter_async_context(keeper)
        await stack.enter_async_context(Upgrades(parts.store))
        stack.push_async_callback(services.runs.drain, 0)
        yield services


def assemble(parts: Parts) -> tuple[Services, Workers, Jobs, Engine]:
    """The services, what must be entered for them to work, and what works on runs."""
    store, now, new_id = parts.store, parts.now, parts.new_id
    access = Access(store, parts.authorize, now)
    runs = Runs(store, access, new_id(), parts.times, now)
    jobs = Jobs(store, runs.worker, new_id)
    assistants = Assistants(store, parts.embedders, jobs, now=now, new_id=new_id)

    async def unread(conversation: Conversation) -> None:
        await documents.drop(conversation)

    conversations = Conversations(
        store, access, now, new_id, idle=runs.idle, stop=runs.stop_on, unread=unread, drop=jobs.drop
    )
    ledger = Ledger(store, parts.providers, parts.credits, now=now, new_id=new_id)
    calls = Calls(store, ledger)
    documents = Documents(
        store,
        jobs,
        Retrieval(store, parts.embedders, parts.limits),
        parts.extractors,
        parts.limits,
        assistant_of=assistants.open,
        conversation_of=conversations.open,
        required=access.required,
        describe=lambda: describer(parts.providers, calls),
        now=now,
        new_id=new_id,
    )
    memories = Memories(
        store, jobs=jobs, embedders=parts.embedders, assistant_of=assistants.open, now=now, new_id=new_id
    )
    learning = Learning(
        store,
        memories=memories,
        learner=parts.learner,
        providers=parts.providers,
        calls=calls,
        assistant_of=assistants.open,
        now=now,
        new_id=new_id,
    )
    jobs.handle(MEMORY_TOPIC, learning, at_once=4)
    assistants.hang(Clearing(store, documents, memories, conversations.clear))
    titles = Titles(store, conversations, parts.providers, calls, jobs, parts.titles)
    jobs.handle(TITLE_TOPIC, titles, at_once=4)
    toolbox = Toolbox(parts.tools, parts.times.tool_time)
    strategies = Strategies(parts.memory, parts.strategies)
    summaries = Summaries(store, strategies, parts.providers, calls, jobs, now)
    jobs.handle(SUMMARY_TOPIC, summaries, at_once=4)
    engine = Engine(
        store=store,
        providers=parts.providers,
        strategies=strategies,
        grounding=Grounding(store, documents, memories),
        memories=memories,
        titles=titles,
        summaries=summaries,
        jobs=jobs,
        ledger=ledger,
        toolbox=toolbox,
        agents=parts.agents,
        times=parts.times,
        meter=parts.meter,
        now=now,
    )
    accounts = Accounts(store, now=now, new_id=new_id)
    workspaces = Workspaces(store, access, accounts, conversations, jobs, now=now, new_id=new_id)
    forks = Forks(store=store, conversations=conversations, retention=parts.retention, now=now, new_id=new_id)
    vault_keys = VaultKeys(store, accounts, now=now, new_id=new_id)
    vault = Vault(store, vault_keys, parts.vault, now=now)
    workers = Workers(store, runs, jobs, engine, now)
    services = Services(
        access=access,
        accounts=accounts,
        adopting=Adopting(store=store, retention=parts.retention, now=now, new_id=new_id),
        agents=("none", *parts.agents),
        archive=Archive(store=store, conversations=conversations, now=now),
        assistants=assistants,
        catalogue=Catalogue(parts.providers, parts.embedders, now=now),
        conversations=conversations,
        documents=documents,
        exports=Exports(store=store, conversations=conversations, now=now),
        forks=forks,
        grants=Grants(store=store, access=access, accounts=accounts, conversations=conversations, now=now),
        imports=Imports(
            store, access, parts.importers, parts.imports, parts.retention, runs.worker, now=now, new_id=new_id
        ),
        ledger=ledger,
        memories=memories,
        providers=parts.providers,
        publishing=Publishing(store=store, conversations=conversations),
        runs=runs,
        sessions=Sessions(store, accounts, parts.sessions, now=now, new_id=new_id),
        shares=Shares(store=store, conversations=conversations, forks=forks, now=now),
        strategies=(DEFAULT, *parts.strategies),
        tags=Tags(store=store, conversations=conversations, now=now, new_id=new_id),
        titles=titles,
        toolbox=toolbox,
        transcriptions=Transcriptions(store=store, workspaces=workspaces, ledger=ledger, transcriber=parts.transcriber),
        translation=Translation(workspaces=workspaces, providers=parts.providers, calls=calls),
        trees=Trees(store=store, conversations=conversations, retention=parts.retention, now=now, new_id=new_id),
        turns=Turns(
            store, conversations, assistants, runs, engine, parts.providers, parts.retention, now=now, new_id=new_id
        ),
        vault=vault,
        vault_keys=vault_keys,
        windows=Windows(store, now),
        workers=workers,
        workspace_conversations=WorkspaceConversations(
            store=store, workspaces=workspaces, conversations=conversations, ledger=ledger, now=now, new_id=new_id
        ),
        workspaces=workspaces,
    )
    return services, workers, jobs, engine
