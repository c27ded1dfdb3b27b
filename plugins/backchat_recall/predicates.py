"""Whether what somebody says of themself lasts: "I live in Rome" does, "I need help" and "I got an error" do not."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHARED = r"(?:my|our) (?:(?!is\b|are\b|was\b|has\b)\w+ ){1,3}and i\b"
"""The beginning of "My wife and I live in Rome"."""
_SUBJECT = re.compile(rf"(?:i|we|{SHARED})(?:'(?P<short>m|re|ve|d|ll))?\s+(?P<rest>.+)", re.I)
_ADVERB = re.compile(
    r"(?:also|really|just|currently|now|still|always|never|usually|often|sometimes|mostly|recently|actually|originally|"
    r"personally|absolutely|only|both|all|truly|mainly|generally|typically|already|even|finally|no longer|don't|do not|"
    r"didn't|can't|cannot|can not|not)\s+",
    re.I,
)
_PASSING = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|right now|at the moment|just now|this (?:morning|afternoon|evening|week|"
    r"weekend|time|one)|the (?:first|second|third|last|other) one|says the|earlier|"
    r"a (?:moment|minute|second) ago|you|your|yours|you're|in (?:this|the) (?:code|example|"
    r"chat|conversation|document|text|story|scene))\b",
    re.I,
)
_MINE_PASSING = re.compile(
    r"\bat (?:\w+ )?\d+(?:\.\d+)?\s?(?:%|per ?cent\b)|\bcurrently (?:at|on|off|out|down|up|away|being|open|closed)\b",
    re.I,
)
_UNFINISHED = re.compile(
    r"\b(?:in|on|at|for|from|to|with|about|by|of|as|a|an|the|and|or|but|is|are|that|my|called)$", re.I
)
_SAID_OF_IT = re.compile(
    r"(?:my|our)\s+(?P<thing>[\w'-]+(?:\s+[\w'-]+){0,5}?)\s*(?:'s|\s(?:is|are|was|were|isn't|aren't|has|have|had|lives?|"
    r"works?|likes?|loves?|hates?|speaks?|plays?|goes|studies|comes?|starts?|prefers?|turns|turned|died|passed away|"
    r"begins?))\s",
    re.I,
)
# Nouns of the conversation itself.
_OF_THE_TALK = _words(
    "question questions problem problems issue issues code error errors point bad mistake guess request requests "
    "apologies script function program query opinion thanks answer message prompt input output test tests build "
    "file files bug understanding idea concern instructions task text app server request screen page command turn"
)
_PASSING_STATES = _words(
    "thankful grateful sorry sure confused back done ready here glad happy tired bored hungry thirsty stuck "
    "curious fine good ok okay well great excited busy late lost wrong right aware able unable trying looking "
    "wondering getting seeing asking having using thinking going hoping running talking referring reading writing "
    "debugging testing calling on about just so in at doing being saying telling feeling sitting standing waiting "
    "coming leaving pretty convinced certain kidding joking serious impressed surprised afraid off out home "
    "online typing following dealing facing missing"
)
_STOPPED_PASSING = _words("getting trying debugging doing seeing asking wondering thinking looking waiting")
_LASTING_IN = _words("born raised diagnosed named married afraid allergic")
_NOT_HAD = _words(
    "string array dataframe database class method variable loop dictionary dict object component question "
    "questions problem problems issue issues idea doubt doubts bug bugs error errors look task tasks request "
    "feeling clue trouble meeting headache cold minute moment file files code list table text data following "
    "function to tried read seen written run done made gone found heard forgotten looked checked installed no"
)
_PERFECT = _words("been lived worked known moved had owned played studied become switched started stopped quit")
_NOT_LASTING = _words(
    "mind rest beg miss vote repeat second pass stand open load click connect access figure continue think guess "
    "see understand agree know mean hope wonder need want wish would could should can may might must will shall "
    "feel believe suppose assume try tried say said ask asked tell told thank appreciate apologize apologise saw "
    "got get getting made make ran run found find wrote thought noticed read looked look went did seem seems let "
    "recommend suggest insist promise bet doubt expect disagree require request imagine remember forget forgot "
    "heard hear receive copied pasted mentioned didn't couldn't wouldn't shouldn't won't tend care gotta gonna "
    "wanna put took gave give send sent came come called call used clicked opened followed set built kept keep "
    "lost broke felt meant needed wanted do don't does are is was am and or the"
)
_LASTING_PAST = _words(
    "moved graduated studied worked married adopted retired switched started stopped quit joined lived turned "
    "became grew bought majored served founded finished changed relocated emigrated immigrated owned played"
)
# "I love it", "I prefer the second option": about something in the conversation.
_POINTED_AT = re.compile(
    r"(?:it|this|that|how|where|when|why|what|which|these|those|them|him|her|both|one|all|"
    r"(?:the )?(?:first|second|third|last|other|former|latter|previous|next|new|old|one|ones|idea|answer|option|"
    r"version|result|way|sound))\b"
)
_ASIDE = _words("not also now currently still really very always actually only never recently just already")
_RUN = _words("every daily marathons ultramarathons on in a 5k 10k twice once three")
_DOES = _words("yoga karate judo pilates crossfit taekwondo ballet gymnastics triathlons research volunteering archery")
_ABLE = _words("speak swim drive cook sing dance play ski ride bake knit sew juggle skate surf sail")
_REFUSED = _words("eat drink stand smoke drive swim tolerate digest cook")
_ENGLISH = _words(
    "am 'm is are was have 've has the an to of and with for at from as by on like love hate enjoy prefer live "
    "work play speak eat drink drive own study use run do don't not no never moved born grew my our adopted "
    "bought graduated collect take wear teach cook bake read train hike swim dance sing paint knit rent every day "
    "week can can't no program code manage design build sell grow raise volunteer ride climb ski surf follow "
    "stopped quit support practice practise celebrate visit commute suffer"
)


def is_lasting(text: str) -> bool:
    """``text`` begins with I, we, my or our, and has no end mark. Apostrophes are straight."""
    if _PASSING.search(text) or _UNFINISHED.search(text):
        return False
    if text[:2].lower() in ("my", "ou") and not re.match(SHARED, text, re.I):
        return _of_mine(text)
    match = _SUBJECT.match(text)
    if match is None or match["short"] in ("d", "ll"):
        return False
    if not _ENGLISH & set(text.lower().replace("'m", " 'm").replace("'ve", " 've").split()):
        return False
    rest, negated = match["rest"], False
    while adverb := _ADVERB.match(rest):
        negated = negated or adverb.group().lower().startswith(("don", "do ", "can", "no ", "not", "never"))
        rest = rest[adverb.end() :]
    return _does(rest.lower().split(), (match["short"] or "").lower(), negated)


def _of_mine(text: str) -> bool:
    match = _SAID_OF_IT.match(text + " ")
    if match is None or _MINE_PASSING.search(text):
        return False
    thing = match["thing"].lower().split()
    return not _OF_THE_TALK & {thing[-1], thing[0]}


def _does(rest: list[str], short: str, negated: bool) -> bool:
    if not rest:
        return False
    verb, after = rest[0], rest[1:]
    if short in ("m", "re"):
        return _is([verb, *after])
    if verb in ("am", "are"):
        return _is(after)
    if verb in ("was", "were"):
        return bool(after) and after[0] in _LASTING_IN
    if short == "ve" or verb in ("have", "had"):
        return _has(rest if short == "ve" else after)
    if verb in _REFUSED and negated:
        return True
    if verb == "can" and not negated:
        while after and after[0] in _ASIDE:
            after = after[1:]
        return bool(after) and after[0] in _ABLE and not _POINTED_AT.match(" ".join(after[1:]))
    if verb == "do" and after:
        return after[0] in _DOES
    if verb == "stopped":
        return bool(after) and after[0].endswith("ing") and after[0] not in _STOPPED_PASSING
    if verb == "used":
        return after[:1] == ["to"]
    if _POINTED_AT.match(" ".join(after)) or not verb.isalpha():
        return False
    if verb == "run":
        return bool(after) and after[0] in _RUN
    if verb in _NOT_LASTING:
        return False
    return not verb.endswith("ed") or verb in _LASTING_PAST


def _is(state: list[str]) -> bool:
    while state and state[0] in _ASIDE | {"a", "an"}:
        if state[0] in ("a", "an"):
            return len(state) > 1 and state[1] not in ("bit", "little", "lot", "few")
        state = state[1:]
    if state[:2] == ["no", "longer"]:
        return _is(state[2:])
    if not state:
        return False
    if state[:2] in (["afraid", "of"], ["good", "at"], ["able", "to"], ["bad", "at"]):
        return state[0] != "able"
    return state[0] not in _PASSING_STATES


def _has(state: list[str]) -> bool:
    while state and state[0] in _ASIDE | {"got", "a", "an", "some", "any", "the"}:
        state = state[1:]
    if not state or state[0] in _PERFECT:
        return bool(state)
    if _POINTED_AT.match(" ".join(state)):
        return False
    if state[0] == "no":
        return len(state) > 1 and state[1] not in _NOT_HAD
    return state[0] not in _NOT_HAD and not (state[0].endswith("ed") and len(state) > 1)
