"""Which sentences state something lasting about the user. English only: in other languages nothing is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backchat_recall.predicates import SHARED, is_lasting
from backchat_recall.sentences import own_sentences

LEAST_WORDS, MOST_WORDS, MOST_LENGTH = 3, 60, 500


@dataclass(frozen=True, slots=True)
class Statement:
    """``corrects``: it says that something else was true, or believed, before."""

    text: str
    corrects: bool = False


_FILLER = re.compile(
    r"(?:hi(?: there| again)?|hello(?: there)?|hey(?: there)?|good (?:morning|afternoon|evening|day)|"
    r"thanks?(?: you)?(?: so much| a lot)?|ok(?:ay)?|well|so|oh|ah|yes|yeah|yep|sure|great|cool|nice|btw|by the way|"
    r"fyi|also|and|plus|anyway|to be clear|to be honest|nice to meet you|please|(?:just )?so you know|just fyi|"
    r"for (?:your information|the record|future reference|context)|as you know|since you ask(?:ed)?|about me|as for me|"
    r"just to let you know|let me correct (?:that|myself|this)|and (?:on|so on|then)|"
    r"(?:and )?(?:another|one more) thing|first(?:ly)?(?: of all)?|second(?:ly)?|finally|lastly|next|then|now|again|"
    r"look|listen|right|al+ ?right|hm+|u[hm]+|"
    r"basically|honestly|frankly|personally|incidentally|besides|moreover|furthermore|in addition|additionally|"
    r"of course|to begin with|for starters|(?:as|like) i (?:said|mentioned)|moving on)"
    r"\s*[,.!:\u2013\u2014-]+\s*|(?:oh|also|and|so|btw|please)\s+(?=(?:i|my|we|our|remember|note|don|call|forget)\b)",
    re.I,
)
_CORRECTS = re.compile(
    r"(?:no|nope|wait|sorry|oops|correction|update|not quite|"
    r"that(?:'s| is| was) (?:wrong|not (?:right|true|correct))|"
    r"i was wrong|i made a mistake|my mistake|"
    r"let me correct (?:that|this|myself))\s*[,.!:\u2013\u2014-]+\s*(?:but\s+)?|"
    r"(?:actually|in fact)\s*,?\s+|i meant (?:to say )?(?:that )?(?=(?:my|our|i) )",
    re.I,
)
_REMEMBER = re.compile(
    r"(?:can you |could you |please )*(?:remember|note|do not forget|don't forget|(?:keep|bear) in mind|memori[sz]e)"
    r"(?: (?:this|please|for (?:later|next time|the future)))*\s*[,:]?\s*(?:that\b)?\s*[,:]?\s*(?=\S)",
    re.I,
)
_FIRST = r"(?:i|i'm|i've|my|we|we're|we've|our)\b"
_STARTS_FIRST = re.compile(_FIRST, re.I)
_SETTING = re.compile(
    r"(?:in|on|at|every|since|for|during|these days|nowadays|currently|now|originally|outside|before|after)\b"
    rf"[^,;]{{0,40}},?\s(?={_FIRST})",
    re.I,
)
_CLAUSE = re.compile(rf"\s*,?\s+(?:and|but|so|though)\s+(?:also\s+)?(?={_FIRST})|\s*,\s+(?={_FIRST})", re.I)
_SHARED = re.compile(SHARED, re.I)
_GREETING = re.compile(r"(?:hi|hello|hey|good \w+)\b", re.I)
_INTRODUCED = re.compile(r"I(?:'m| am) (?P<name>[A-Z]\w+(?: [A-Z]\w+)?)$")
_QUESTION_TAIL = re.compile(
    r"[,;\u2013\u2014-]\s*(?:and |so |but )?(?:what|how|can|could|would|will|which|where|when|who|why|should|do|"
    r"does|is|are|any)\b[^,]*\?$|"
    r"\s(?:and|so|but) (?:what|how|can|could|would|which|where|should|do you|is there)\b.*\?$",
    re.I,
)
_CALL_ME = re.compile(
    r"(?:(?:you can|just|please|everyone|people)\s+)*calls? me (?!crazy|back|when|if|at|later)\w", re.I
)
# Said to the assistant about what it does: an instruction, not a statement.
_TOLD = re.compile(
    r"\b(?:you|your|yours|yourself|ignore|disregard|instructions?|prompts?|assistant|answers|respond|reply|replies|"
    r"responses?|outputs?|the system|system message)\b|^(?:always|never|do|don't|from now on|only|be)\b|"
    r"^(?=.*\banswer\b).*\b(?:must|should|shall|always|never|only|has to)\b",
    re.I,
)
_TO_DO = re.compile(r"(?:to|how|when|what|where|why|who|me|it(?!(?:'s| is) (?:my|our)\b)|this|us|them|him|her)\b", re.I)
_STATES = re.compile(
    r"\w'(?:s|m|re|ve|ll|d)\b|n't\b|\w:\s|^(?:i|we) \w|"
    r"\b(?:is|are|was|were|am|has|have|had|can|could|will|would|must|should|may|might|do|does|did|lives?|works?|meet|"
    r"need|want|like|love|go|went|come|came|cost|take|took|start|open|close|speak|eat|drink|play|use|own|run|got)\b|"
    r"^(?:(?:the|an?|my|our|these|those|all|every|each) [\w'-]+|(?!(?:the|an?|my|our|these|those|all|every|each)\b)"
    r"[\w'-]+) (?:.* )?\w{2,}(?:s|ed)\b",
    re.I,
)
_REQUEST_TAIL = re.compile(
    r"(?:\s*[,;\u2013\u2014]|\s-)\s*(?:and |so |but |now |then |please )*(?:(?:can|could|would|will) you\b|"
    r"(?:what|how|where|when|who|why)(?:'s| is| are| do| does| should| can)\b|let me know\b|"
    r"(?:tell|give|show|write|help|find|explain|translate|summari[sz]e|suggest|recommend|make|create|list|search|look|"
    r"check|calculate|remind|describe|compare|draft|plan|book|sing|read|send) (?:me|us|an?|the|my|our|some|this|that|"
    r"it|for|up|about|please|two|three|four|five|ten|\d+)\b).*$|"
    r"\s(?:and|so|but) (?:now )?(?:please )?(?:tell|give|show|help|remind|write|find) (?:me|us)\b.*$",
    re.I,
)
_ELIDED = re.compile(r"(?P<who>i|we)\b.*?(?P<joint>\s*,?\s+and) (?:now )?(?=no longer\b)", re.I)
_NOT_TAIL = re.compile(r",\s*(?:and\s+)?not\s+[^,;]{1,60}$|\s*\(not\s[^)]{1,60}\)$", re.I)
_NOT_BUT = re.compile(
    r"(?P<subject>i|we) (?:do not|don't|no longer) (?P<verb>\w+) (?P<old>[^,]{1,60}?),?"
    r" but (?:rather |instead )?(?:(?:i|we) )?(?P<new>.+)",
    re.I,
)
_IS_NOT_BUT = re.compile(
    r"(?P<head>(?:my|our) .{1,60}? (?:is|are)|i am|i'm|we are|we're)(?: not|n't) (?P<how>called |named )?"
    r"(?P<old>[^,]{1,60}?),? but (?:rather |instead )?(?P<new>.+)",
    re.I,
)
_CHANGED = re.compile(r"\b(?:now|no longer|anymore|any more|instead|changed|switched|not .{1,40} but)\b", re.I)
_AGE = re.compile(r"((?:i am|i'm) (?:now )?\d{1,3})$", re.I)
_PREPOSITION = re.compile(r"\b(?:in|on|at|for|from|to|with|about|near|by)\b", re.I)


def statements(said: str) -> Iterator[Statement]:
    """What the user states about themself, a clause each, in the user's words."""
    corrects = False
    for sentence in own_sentences(said):
        found = list(_facts_in(sentence, corrects))
        # "No. My dog is called Max." corrects, too.
        corrects = not found and bool(_CORRECTS.fullmatch(sentence + " ") or _CORRECTS.fullmatch(sentence + ", "))
        yield from found


def clauses(text: str) -> list[str]:
    """A statement cut where the user begins to speak of themself anew."""
    shared = _SHARED.match(text)
    start = shared.end() if shared else 0
    found, last = [], 0
    for cut in _CLAUSE.finditer(text, start):
        found.append(text[last : cut.start()])
        last = cut.end()
    return [*found, text[last:]]


def _facts_in(sentence: str, corrects: bool) -> Iterator[Statement]:
    plain = sentence.replace("\u2019", "'").rstrip()
    plain, marked, asked = _without_lead(plain)
    corrects = corrects or marked
    if (request := _REQUEST_TAIL.search(plain)) is not None:
        plain = plain[: request.start()]
    elif plain.endswith("?"):
        cut = _QUESTION_TAIL.search(plain)
        plain = plain[: cut.start()] if cut else ""
    plain = plain.rstrip(" .!,:;\u2026")
    if elided := _ELIDED.match(plain):
        plain = f"{plain[: elided.end('joint')]} {elided['who']} {plain[elided.end() :]}"
    for n, clause in enumerate(clauses(plain)):
        fact, changed = _settled(clause.strip())
        if n == 0 and _GREETING.match(sentence):
            fact = _INTRODUCED.sub(r"My name is \g<name>", fact)
        if not _is_fact(fact, asked and n == 0):
            return  # what follows a request or a supposition belongs to it
        yield Statement(fact[0].upper() + fact[1:], corrects or changed)


def _without_lead(text: str) -> tuple[str, bool, bool]:
    """Without greetings and the like; whether a correction was announced, and whether to remember was asked."""
    corrects = asked = False
    while True:
        if match := _CORRECTS.match(text):
            corrects = True
        elif not asked and (match := _REMEMBER.match(text)):
            asked = True
        else:
            match = _FILLER.match(text)
        if not match or not match.end():
            return text, corrects, asked
        text = text[match.end() :]


def _settled(text: str) -> tuple[str, bool]:
    """Only what holds, of a statement that also says what does not; and whether it was one that changes something."""
    changed = bool(_CHANGED.search(text))
    if match := _IS_NOT_BUT.match(text):
        return f"{match['head']} {match['how'] or ''}{match['new']}", True
    if match := _NOT_BUT.match(text):
        place = _PREPOSITION.match(match["old"])
        new = match["new"]
        if new.split()[0].lower() == match["verb"].lower():
            return f"{match['subject']} {new}", True
        joint = f"{place.group()} " if place and not _PREPOSITION.match(new) else ""
        return f"{match['subject']} {match['verb']} {joint}{new}", True
    without = _NOT_TAIL.sub("", text)
    return _AGE.sub(r"\1 years old", without), changed or without != text


def _is_fact(text: str, asked: bool) -> bool:
    if not LEAST_WORDS <= len(text.replace("'", " ").split()) <= MOST_WORDS or len(text) > MOST_LENGTH:
        return False
    if _CALL_ME.match(text):
        return True
    setting = _SETTING.match(text)
    own = text[setting.end() :] if setting else text
    if _STARTS_FIRST.match(own) and is_lasting(own):
        return True
    return asked and not _TOLD.search(text) and not _TO_DO.match(text) and bool(_STATES.search(text))
