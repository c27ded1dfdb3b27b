"""Who may do what: one table of actions and standings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Role = Literal["owner", "admin", "member"]
"""What a member is in a workspace."""

Standing = Literal["owner", "edit", "view", "admin", "member", "stranger"]
"""What a caller is to a conversation, or to a workspace.

To a conversation: its ``owner``; one it is shared with, to ``edit`` or to ``view``; to whom it is not shared: an
``admin`` (or the owner) of its workspace, another ``member``. To a workspace: its ``owner``, an ``admin``, a
``member``. Whoever is not a member of the workspace, or no longer, is a ``stranger`` to everything in it, whatever was
shared with them, and to their own conversations there too.
"""

Permission = Literal["edit", "view"]
"""What a conversation can be shared for."""

Action = Literal[
    "read",
    "say",
    "annotate",
    "withdraw",
    "rewrite",
    "update",
    "attach",
    "share",
    "delete",
    "enter",
    "rename",
    "manage_members",
    "dissolve",
]

RIGHTS: Mapping[Action, frozenset[Standing]] = {
    # on conversations
    # It, its messages and replies, with the names of files that grounded these. Exports and copies too, without what is
    # the owner's: settings, tags, metadata (``backchat.services.for_readers``). Never their memories, nor their files.
    "read": frozenset({"owner", "edit", "view"}),
    # Messages, answers made again, tool outputs; stop a reply. Replies are grounded in the documents of the owner, of
    # this conversation and of its assistant, whoever asks; in their memories only when they ask themselves.
    "say": frozenset({"owner", "edit"}),
    "annotate": frozenset({"owner", "edit"}),  # feedback on a message
    "withdraw": frozenset({"owner", "edit"}),  # delete or reword what oneself has said
    "rewrite": frozenset({"owner"}),  # store, reword and delete any message
    "update": frozenset({"owner"}),  # title, settings, tags, archive, pin
    "attach": frozenset({"owner"}),  # its documents
    "share": frozenset({"owner"}),  # with users, by links
    "delete": frozenset({"owner"}),
    # on workspaces
    "enter": frozenset({"owner", "admin", "member"}),  # see it and its members, begin conversations in it
    "rename": frozenset({"owner", "admin"}),
    "manage_members": frozenset({"owner", "admin"}),
    "dissolve": frozenset({"owner"}),
}


def allowed(action: Action, standing: Standing) -> bool:
    """What the table says."""
    return standing in RIGHTS[action]
