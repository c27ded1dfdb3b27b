"""The user's own sentences: what is quoted, pasted or code is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_SAID, MOST_SENTENCE = 20_000, 1000
_GAP = "\ufffc"

_FENCED = re.compile(r"(```|~~~).*?(?:\1|\Z)", re.S)
_LONG_QUOTE = re.compile(r"[\"\u201c\u201d\u201e\u00ab][^\"\u201c\u201d\u00bb]*[\"\u201c\u201d\u00bb]")
_QUOTED_WORDS = 4
_ASIDE_LINE = re.compile(r"\s*[>|]|\s{4}|\t|\s*\$ |\s*>>>|\s*#!|\s*<\w|\s*[\]})]+[;,]?\s*$")
_CODE = re.compile(r"[{}]|[;]\s*$|=>|==|!=|\+=|:=|\w\(\)|</|\w\s=\s\w|\bdef \w+\(|\bimport \w+$|\w\.\w+\(|://|\\n")
_MAIL = re.compile(r"(?:From|To|Cc|Bcc|Subject|Date|Sent|Reply-To): ")
_BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013]|\d{1,2}[.)])\s+")
_WRAPPED = re.compile(r"(?<![.!?:;\n])\n(?=[a-z])")
_STOP = re.compile(r"[.!?\u2026]+[\"')\]\u201d]*(?=\s|$)|;(?=\s)")
_ABBREVIATED = re.compile(r"(?:^|[\s(])(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|Jr|Sr|vs|etc|e\.g|i\.e|approx|ca)\.$")
_LONGEST = 10
# What follows is somebody's text: "Translate this:", "Here is the document:", "Please check the following".
_PRESENTS = re.compile(
    r"\b(?:translate|summari[sz]e|proofread|rewrite|rephrase|paraphrase|correct|check|review|fix|edit|improve|explain|"
    r"analy[sz]e|extract|document|text|email|e-mail|letter|article|story|essay|poem|message|note|paragraph|transcript|"
    r"code|log|error|output|says?|said|wrote|writes|reads?|quote|example|template|draft|cv|resume|following|below|"
    r"pretend|imagine|persona|role|character|prompt)\b",
    re.I,
)
_ABOUT_USER = re.compile(r"\b(?:about me|let me correct|remember|note that|facts?|know)\b", re.I)


def own_sentences(said: str) -> Iterator[str]:
    """The sentences, without list marks. After the announcement of a text there is no more: what follows is that text.

    A sentence with a longer quotation in it, or that looks like code, is left out.
    """
    text = _FENCED.sub(f"\n{_GAP}\n", said[:MOST_SAID].replace("\r\n", "\n"))
    text = _LONG_QUOTE.sub(_unquoted, text)
    kept: list[str] = []
    for line in text.split("\n"):
        if _MAIL.match(line):
            break
        kept.append("" if _ASIDE_LINE.match(line) else _BULLET.sub("", line))
    for paragraph in _WRAPPED.sub(" ", "\n".join(kept)).split("\n"):
        for sentence in _split(paragraph):
            head, colon, _ = sentence.partition(":")
            if colon and _PRESENTS.search(head) and not _ABOUT_USER.search(head):
                return
            if len(sentence) <= MOST_SENTENCE and _GAP not in sentence and not _CODE.search(sentence):
                yield sentence


def _unquoted(match: re.Match[str]) -> str:
    return _GAP if len(match.group().split()) >= _QUOTED_WORDS else match.group()


def _split(paragraph: str) -> Iterator[str]:
    start = 0
    for stop in _STOP.finditer(paragraph):
        if _ABBREVIATED.search(paragraph, max(start, stop.end() - _LONGEST), stop.end()):
            continue
        if sentence := paragraph[start : stop.end()].strip():
            yield sentence
        start = stop.end()
    if sentence := paragraph[start:].strip():
        yield sentence
