"""What search services answer, in the shapes that they document; DuckDuckGo's page as its readers describe it."""

from __future__ import annotations

import json
from collections.abc import Mapping

SEARXNG = {
    "query": "how long",
    "number_of_results": 0,
    "results": [
        {
            "url": "https://example.org/green",
            "title": "Green tea",
            "content": "Two minutes are\nenough.",
            "engine": "duckduckgo",
            "parsed_url": ["https", "example.org", "/green", "", "", ""],
            "positions": [1],
            "score": 1.0,
            "category": "general",
        },
        {"url": "https://example.org/black?a=1&b=2", "title": "Black tea", "content": "Four minutes."},
    ],
    "answers": [],
    "infoboxes": [],
    "suggestions": [],
    "unresponsive_engines": [["google", "timeout"]],
}
BRAVE = {
    "type": "search",
    "query": {"original": "how long", "more_results_available": True},
    "web": {
        "type": "search",
        "results": [
            {
                "type": "search_result",
                "title": "Green tea",
                "url": "https://example.org/green",
                "description": "<strong>Two minutes</strong> are enough.",
                "page_age": "2025-01-15T00:00:00",
                "profile": {"name": "Example"},
            },
            {
                "type": "search_result",
                "title": "Black tea",
                "url": "https://example.org/black?a=1&b=2",
                "description": "Four&nbsp;minutes.",
            },
        ],
    },
}
TAVILY = {
    "query": "how long",
    "answer": None,
    "images": [],
    "results": [
        {
            "title": "Green tea",
            "url": "https://example.org/green",
            "content": "Two minutes are enough.",
            "score": 0.8,
            "raw_content": None,
        },
        {"title": "Black tea", "url": "https://example.org/black?a=1&b=2", "content": "Four minutes.", "score": 0.7},
    ],
    "response_time": 1.1,
    "request_id": "123e4567",
}
RESULT = """<div class="result results_links results_links_deep %s">
<div class="links_main links_deep result__body"><h2 class="result__title">
<a rel="nofollow" class="result__a" href="%s">%s</a></h2>
<div class="result__extras"><div class="result__extras__url"><span class="result__icon">
<a rel="nofollow" href="%s"><img class="result__icon__img" width="16" height="16" alt="" src="//x/i.ico"/></a></span>
<a class="result__url" href="%s">example.org</a><span>&nbsp; &nbsp; 2025-12-30T00:00:00.0000000</span></div></div>
<a class="result__snippet" href="%s">%s</a><div class="clear"></div></div></div>"""


def duck(*results: tuple[str, str, str, str]) -> str:
    """A page of results: of each its kind, its link, its title and its extract."""
    listed = "".join(
        [RESULT % (kind, link, title, link, link, link, extract) for kind, link, title, extract in results]
    )
    return (
        '<!DOCTYPE html><html><head><title>how long at DuckDuckGo</title></head><body><form id="search_form_homepage">'
        f'<input class="search__input" name="q"></form><div><div id="links" class="results">{listed}'
        '<div class="nav-link"><form action="/html/" method="post"><input type="submit" value="Next"></form></div>'
        "</div></div></body></html>"
    )


DUCK = duck(
    ("result--ad", "https://shop.example/", "Buy tea", "Now."),
    ("web-result", "https://duckduckgo.com/y.js?ad_domain=shop.example&amp;u3=https%3A%2F%2Fx", "Buy tea", "Now."),
    ("web-result ", "https://example.org/green", "Green <b>tea</b>", "<b>Two</b> minutes are enough."),
    (
        "web-result ",
        "//duckduckgo.com/l/?uddg=https%3A%2F%2Fexample.org%2Fblack%3Fa%3D1%26b%3D2&amp;rut=0f",
        "Black tea",
        "Four minutes.",
    ),
)
CHALLENGE = """<!DOCTYPE html><html><head><title>DuckDuckGo</title></head><body><div class="anomaly-modal__mask">
<form id="challenge-form" action="//duckduckgo.com/anomaly.js?sv=html&cc=botnet" method="POST">
<div class="anomaly-modal__title">Unfortunately, bots use DuckDuckGo too.</div></form></div></body></html>"""
ANSWERS: Mapping[str, str] = {
    "searxng": json.dumps(SEARXNG),
    "brave": json.dumps(BRAVE),
    "tavily": json.dumps(TAVILY),
    "duckduckgo": DUCK,
}
