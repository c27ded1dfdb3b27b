"""Learning by a rule, where no model follows instructions: plain sentences about oneself, in English."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from backchat.domain.memory import Recalled
from backchat.ports.learning import Learned, Lesson, Unlearned
from backchat.services.memory_words import same_fact, share, wanted
from backchat_recall.facts import Statement, clauses, statements
from backchat_recall.sentences import own_sentences
from backchat_recall.slots import contradicts, slots

NEIGHBOURS = 20
_INSTEAD = re.compile(
    r"(?:(?:no|sorry|actually|wait|oops|correction)[,:]?\s+)*(?:it(?:'s| is)|that(?:'s| is)|it should be|i meant)\s+(?:"
    r"not (?P<old>[^,]{1,60}?),? but (?:rather )?(?P<new>[^,]{1,60})|"
    r"(?P<newer>[^,]{1,60}?),? (?:and )?not (?P<older>[^,]{1,60}))$",
    re.I,
)
_FORGET = re.compile(
    r"(?:please |can you |could you )*(?:forget|do not remember|don't remember)"
    r"(?: (?:that|about|what i said about|the fact that))* (?P<what>.{3,300})$",
    re.I,
)
_I_AM = re.compile(r"I(?:['\u2019]m| am) (?P<name>\w+(?: \w+)?)", re.I)
Changes = list[Learned | Unlearned]


async def learn_by_rule(lesson: Lesson, most: int) -> Sequence[Learned | Unlearned]:
    """At most ``most`` changes.

    Of a long turn the first twice as many statements are looked at: each takes searches, which an embedder may charge.
    """
    changes: Changes = []
    for statement in islice(statements(lesson.said), 2 * most):
        if len(changes) >= most:
            break
        await _learn(lesson, statement, changes)
    if not changes:
        await _amend(lesson, changes, 2 * most)
    return changes[:most]


async def _learn(lesson: Lesson, statement: Statement, changes: Changes) -> None:
    """What a statement changes, beside what the earlier ones of the same turn do."""
    text = statement.text
    for n, change in enumerate(changes):
        if isinstance(change, Learned) and same_fact(change.content, text):
            return
        if isinstance(change, Learned) and contradicts(text, change.content, statement.corrects):
            changes[n] = Learned(text, change.replaces)
            return
    taken = {c.replaces if isinstance(c, Learned) else c.id for c in changes}
    near = [m for m in await _near(lesson, text) if m.id not in taken]
    if any(same_fact(m.content, text) or _names(m.content, text) for m in near):
        return
    place: str | None = None
    for memory in near:
        parts = clauses(memory.content)
        rest = [part for part in parts if not contradicts(text, part, statement.corrects)]
        if len(rest) == len(parts):
            continue
        if rest:
            changes.append(Learned(" and ".join(rest), memory.id))
        elif place is None:
            place = memory.id
        else:
            changes.append(Unlearned(memory.id))
    changes.append(Learned(text, place))


def _names(known: str, text: str) -> bool:
    """Whether "I'm Sarah" is said by somebody whose name is known to be Sarah."""
    name = _I_AM.fullmatch(text)
    return name is not None and same_fact(known, f"My name is {name['name']}")


async def _near(lesson: Lesson, text: str) -> list[Recalled]:
    """Memories that say the same, or something on the same thing in other words."""
    found = {m.id: m for m in await lesson.similar(text, NEIGHBOURS)}
    for slot in slots(text).values():
        for memory in await lesson.similar(slot.words, NEIGHBOURS):
            found.setdefault(memory.id, memory)
    return list(found.values())


async def _amend(lesson: Lesson, changes: Changes, searches: int) -> None:
    """ "It's Max, not Rex" and "Forget that I like tea": done where it is clear which memory is meant."""
    plain_ones = (sentence.replace("\u2019", "'").rstrip(" .!") for sentence in own_sentences(lesson.said))
    matches = (match for plain in plain_ones if (match := _INSTEAD.match(plain) or _FORGET.match(plain)))
    for match in islice(matches, searches):
        if match.re is _INSTEAD:
            old, new = match["old"] or match["older"], match["new"] or match["newer"]
            phrase = re.compile(rf"(?<!\w){re.escape(old.strip())}(?!\w)", re.I)
            named = [m for m in await lesson.similar(old, NEIGHBOURS) if phrase.search(m.content)]
            if len(named) == 1:
                content = phrase.sub(lambda _: new.strip(), named[0].content)  # noqa: B023 - called at once
                changes.append(Learned(content, named[0].id))
        else:
            looked_for = wanted(match["what"])
            meant = [m for m in await lesson.similar(match["what"], NEIGHBOURS) if share(looked_for, m.content) == 1]
            if len(meant) == 1:
                changes.append(Unlearned(meant[0].id))
