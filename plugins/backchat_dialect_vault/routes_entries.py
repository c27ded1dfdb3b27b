"""The routes of entries and their versions."""

from __future__ import annotations

from backchat.domain.vault import BODY_MAX
from backchat.services.container import Services
from backchat.web.dialect import Route
from backchat_dialect_vault import answers, schemas
from backchat_dialect_vault import handlers_entries as entries
from backchat_dialect_vault.settings import pulls, pushes
from backchat_dialect_vault.statuses import BODY, KEYLESS, LIMITED, MISSING, UNFIT, statuses

PUSH, PULL = ("push",), ("pull",)
"""What a key with scopes needs one of, besides the name of the dialect."""
ONE = "/entries/{entryId}"


def most(services: Services) -> int:
    """Of a body with messages."""
    return BODY_MAX


ROUTES = [
    Route(
        method="POST",
        path="/push",
        handler=entries.push,
        summary="Commit a conversation, plain or sealed; safe to repeat",
        body=schemas.PushSchema(),
        answer=answers.PushedSchema(),
        statuses=statuses(
            BODY, KEYLESS, {409: "baseVersion is not the current one, which is `version`"}, LIMITED, ok="It is there"
        ),
        scopes=PUSH,
        limit=most,
        limited=pushes,
    ),
    Route(
        method="GET",
        path="/pull",
        handler=entries.pull,
        summary="Entries with the content of their latest versions, last changed first",
        query=schemas.PullSchema(),
        answer=answers.PulledSchema(),
        statuses=statuses(UNFIT, LIMITED, ok="Those that fit"),
        scopes=PULL,
        limited=pulls,
    ),
    Route(
        method="GET",
        path=ONE,
        handler=entries.get_entry,
        summary="An entry with the content of its latest version",
        answer=answers.EntrySchema(),
        statuses=statuses(MISSING, LIMITED, ok="The entry"),
        scopes=PULL,
        limited=pulls,
    ),
    Route(
        method="DELETE",
        path=ONE,
        handler=entries.delete_entry,
        summary="Delete an entry with all its versions",
        statuses=statuses(MISSING, ok="Deleted", status=204),
        scopes=PUSH,
    ),
    Route(
        method="GET",
        path=f"{ONE}/versions",
        handler=entries.list_versions,
        summary="The versions of an entry, oldest first",
        answer=answers.VersionsSchema(),
        statuses=statuses(MISSING, LIMITED, ok="The versions that are kept"),
        scopes=PULL,
        limited=pulls,
    ),
    Route(
        method="GET",
        path=f"{ONE}/versions/{{version}}",
        handler=entries.get_version,
        summary="A version with its content",
        answer=answers.SealedVersionSchema(),
        statuses=statuses(MISSING, LIMITED, ok="The version"),
        scopes=PULL,
        limited=pulls,
    ),
    Route(
        method="POST",
        path=f"{ONE}/adopt",
        handler=entries.adopt_entry,
        summary="Make a conversation of an entry, which every dialect can read",
        body=schemas.MessagesSchema(),
        answer=answers.AdoptedSchema(),
        statuses=statuses(BODY, MISSING, ok="The conversation", status=201),
        scopes=PUSH,
        limit=most,
    ),
]
