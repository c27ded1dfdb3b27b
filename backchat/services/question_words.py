"""Which words of a question are looked up.

The words that every text holds cost most to look up and tell least. Function words are left out by a list; what else is
frequent shows in a sample of the passages, and when there are many passages the rarest words are taken, as many as
can be looked up fast.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from backchat.ports.words import words

LONGEST = 8_000
"""Characters of a question that count: those at its beginning and at its end, where people ask."""
MOST = 24
"""Words that are looked up at most."""
BUDGET = 8_000
"""Passages that the words looked up may hit together, about. SQLite ranks so many in 20 to 40 ms."""

# The heads of the stop word lists of the Snowball project (https://snowballstem.org, BSD), for the languages below:
# articles, pronouns, prepositions, conjunctions, auxiliaries and question words, spelled as ``words`` spells them. Left
# out of it is what is also a noun or an abbreviation elsewhere, such as war, mit and eu.
_STOP = frozenset(
    words(
        """
        a about after all also am an and any are as at be because been before being between both but by can could did
        do does doing during each few for from further had has have having he her here hers him his how i if in into is
        it its just me more most my no nor not of off on once only or other our out over own please same she should so
        some such than that the their them then there these they this those through to too under until up very was we
        were what when where which while who whom why will with would you your
        aber als am an auch auf aus bei bis bist da damit das dass dein dem den der des dich die dies diese dieser
        doch dort du durch ein eine einem einen einer eines er es euer fur hatte haben hier ich ihm ihn ihr ihre im
        in ist ja kann kein keine mein mich mir nach nicht noch nun nur ob oder ohne sehr sein seine sich sie
        sind so uber um und uns unter vom von vor waren warum was wenn wer werden wie wieder will wir wird wo zu
        zum zur
        au aux avec ce ces cette dans de des du elle elles en est et etait etre eux il ils je la le les leur leurs lui
        ma mais me mes moi mon ne nos notre nous on ou par pas pour qu que quel quelle quels quelles qui sa sans se ses
        sont sur ta te tes toi tu un une vos votre vous y
        al algo como con cual cuando de del desde donde el ella ellas ellos en entre es esa ese eso esta este esto
        fue ha hay la las le les lo los mas me mi muy nada no nos o para pero por porque que quien se ser si sin sobre
        su sus tambien te tiene tu un una uno unos y ya yo
        agli al alla alle anche che chi ci come con cosa da dal dalla degli dei del della delle di e ed gli
        ha ho i il in io la le lei lo loro lui ma mi mia mio nel nella noi non o per perche piu quale quando quanto
        quello questa questo se sei si sono su sul sulla tra tu un una uno vi voi
        ao aos as com como da das de depois do e ela ele eles em entre essa esse esta este foi isso isto ja mais
        mas meu minha muito na nao nas nem no nos o ou para pela pelo por qual quando que quem se sem ser seu sua
        sao tambem te tem um uma voce
        aan al als ben bij dan dat de deze die dit doch door dus een en er geen haar had heb heeft hem het hier hij hoe
        hun ik in is ja je kan maar me meer met mij mijn na naar niet nog nu of om omdat ons ook op over te toen tot u
        uit van voor wat we wel werd wie wij wordt zal ze zich zij zijn zo
        """
    )
)


def bounded(question: str) -> str:
    """The question, or its beginning and its end if it is long."""
    if len(question) <= LONGEST:
        return question
    half = LONGEST // 2
    return f"{question[:half]} {question[-half:]}"


def telling(question: str) -> list[str]:
    """The words of a question that can tell passages apart, in order, each once; any words if there are no others."""
    found = list(dict.fromkeys(words(question)))
    content = [w for w in found if w not in _STOP and not _is_letter(w)]
    return content or [w for w in found if w not in _STOP] or found


def with_stems(found: Sequence[str]) -> list[str]:
    """The words, then what remains of the longer ones without their last third, but at least four letters.

    A store looks words up as beginnings, so that "disconnects" finds "disconnected" by "disconn", in many languages.
    A passage that has the very word is found by both, and ranks higher for it.
    """
    stems = [w[: max(4, len(w) - round(len(w) / 3))] for w in found if len(w) > 4 and w.isalpha()]
    return list(dict.fromkeys([*found, *stems]))


def _is_letter(word: str) -> bool:
    """A lone letter of an alphabet begins half of all words. A digit does not, nor what is a word in itself."""
    return len(word) == 1 and word < "\u0e00" and not word.isdigit()


@dataclass(frozen=True, slots=True)
class Sample:
    """Words of some passages out of ``total``, for each a bit set of those that hold it."""

    total: int
    size: int
    sorted_words: Sequence[str]
    holders: Sequence[int]

    @classmethod
    def of(cls, texts: Sequence[str], total: int) -> Sample:
        held: dict[str, int] = {}
        for n, text in enumerate(texts):
            for word in set(words(text)):
                held[word] = held.get(word, 0) | 1 << n
        ordered = sorted(held)
        return cls(total, len(texts), ordered, [held[w] for w in ordered])

    def hits(self, prefix: str) -> float:
        """How many of all passages hold a word that begins so, about; never none."""
        found = 0
        ordered = self.sorted_words
        i = bisect_left(ordered, prefix)
        while i < len(ordered) and ordered[i].startswith(prefix):
            found |= self.holders[i]
            i += 1
        return max(found.bit_count(), 0.5) / max(self.size, 1) * self.total


def chosen(candidates: Sequence[str], sample: Sample | None) -> list[str]:
    """The words to look up: the longest without a sample, with one the rarest, within ``BUDGET`` but at least one."""
    if sample is None:
        return sorted(candidates, key=len, reverse=True)[:MOST]
    rated = sorted((sample.hits(w), -len(w), w) for w in candidates)
    taken: list[str] = []
    spent = 0.0
    for hits, _, word in rated[:MOST]:
        spent += hits
        if taken and spent > BUDGET:
            break
        taken.append(word)
    return taken
