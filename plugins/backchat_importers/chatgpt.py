"""ChatGPT's export: an array of conversations, of which each has a ``mapping`` of nodes to a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from backchat.ports.importing import Shape, SourceConversation, Unreadable
from backchat_importers.chatgpt_nodes import Node, message_of
from backchat_importers.reading import conversations
from backchat_importers.values import Unfit, archived, array_of, flag_of, id_of, moment_of, text_of, without
from backchat_importers.walking import Walk

# fmt: off
_MAPPED = (
    "id", "conversation_id", "title", "mapping", "current_node", "create_time", "update_time", "is_archived",
    "is_starred", "pinned_time", "moderation_results",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class ChatGPT:
    """``conversations.json``, or one of the files that a large export comes in; or one conversation alone."""

    name: str = "chatgpt"

    def recognises(self, shape: Shape) -> bool:
        """An empty array is the export of somebody who has no conversations."""
        return "mapping" in shape.keys or (shape.is_array and shape.whole and not shape.keys)

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        return conversations(file, _conversation)


def _conversation(entry: Mapping[str, Any]) -> SourceConversation:
    mapping = entry.get("mapping")
    if type(mapping) is not dict:
        raise Unfit("it has no object `mapping`")
    tree = _Tree({id: Node.of(id, node) for id, node in mapping.items() if type(node) is dict})
    leaf = id_of(entry.get("current_node"))
    updated = moment_of(entry.get("update_time"))
    created = moment_of(entry.get("create_time"))
    options: dict[str, Any] = {"endpoint": "openAI"}
    if model := text_of(entry.get("default_model_slug")):
        options["model"] = model
    options |= {k: v for k, v in without(entry, *_MAPPED).items() if v != [] and v is not False}
    if tree.hidden:
        options["hidden"] = tree.hidden
    messages = [
        message_of(node, tree.walk.parent(id), tree.thoughts.get(id, ()), tree.recaps.get(id))
        for id, node in tree.nodes.items()
        if node.shown
    ]
    dates = [m.created_at for m in messages if m.created_at is not None]
    return SourceConversation(
        id=id_of(entry.get("conversation_id")) or id_of(entry.get("id")),
        messages=messages,
        title=text_of(entry.get("title")) or None,
        created_at=created,
        updated_at=updated,
        leaf=tree.walk.nearest(leaf) if leaf in tree.nodes else None,
        archived_at=archived(entry.get("is_archived"), updated, max(dates, default=None), created),
        pinned=flag_of(entry.get("is_starred")) or moment_of(entry.get("pinned_time")) is not None,
        options=options,
    )


class _Tree:
    """The nodes of a conversation, and what becomes of those that are no messages.

    walk      past them
    thoughts  for messages of the model: what it thought before, each thought with the first message that comes of it
    recaps    the line about these thoughts ("Thought for 8 seconds")
    hidden    what else nodes have that nobody was shown: the instructions that the user has given for all conversations
    """

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.thoughts: dict[str, tuple[str, ...]] = {}
        self.recaps: dict[str, str] = {}
        self.hidden = [node.says for node in nodes.values() if node.says]
        self._parents = _parents(nodes)
        self._hand_on()
        self.walk = Walk(self._parents, lambda id: not nodes[id].shown)

    def _hand_on(self) -> None:
        """Thoughts and their recaps to the message after them. Thoughts that came to nothing are messages."""
        taken: set[str] = set()
        for id, node in self.nodes.items():
            if not node.shown or node.by_user:
                continue
            before: list[str] = []
            above = self._parents.get(id)
            while above is not None and above in self.nodes and above not in taken and not self.nodes[above].shown:
                taken.add(above)
                passed = self.nodes[above]
                if passed.recap:
                    self.recaps.setdefault(id, passed.recap)
                if passed.thoughts:
                    before.append(passed.thoughts)
                above = self._parents.get(above)
            if before:
                self.thoughts[id] = tuple(reversed(before))
        for id, node in self.nodes.items():
            if node.thoughts and id not in taken:
                node.shown = True


def _parents(nodes: Mapping[str, Node]) -> dict[str, str | None]:
    """By the nodes' own word; for those that do not say, by that of the node which says that they are its children."""
    said = {id: node.parent for id, node in nodes.items() if node.parent in nodes}
    for id, node in nodes.items():
        for child in array_of(node.children):
            if (name := id_of(child)) is not None and name != id:
                said.setdefault(name, id)
    return said
