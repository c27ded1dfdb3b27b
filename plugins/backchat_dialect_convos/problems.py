"""Errors as the convos dialect shows them: three shapes of bodies, as its clients know them."""

from __future__ import annotations

import re

import orjson
from aiohttp import web

from backchat.web.dialect import Problem

IMPORT = "/api/convos/import"
NO_TOKEN, UNKNOWN_TOKEN = "No auth token", "Unauthorized"
UNRECOGNISED = "invalid or expired token"
"""What the server says of a token that is of no kind it knows; of one it knows, it says what is wrong with it."""
CRASHES = {
    "/api/convos/update": "Error updating conversation",
    "/api/convos/archive": "Error archiving conversation",
    "/api/convos": "Error clearing conversations",
    "/api/convos/all": "Error clearing conversations",
    "/api/convos/fork": "Error forking conversation",
    "/api/convos/duplicate": "Error duplicating conversation",
    IMPORT: "Error processing file",
}
"""What a fault of the server is called, in plain text."""
_PREDICATE = re.compile(r"(must|is|has|may)\b")
CRASH = "An unknown error occurred."
IMPORTS = {413: "File exceeds the maximum allowed size", 415: "Only JSON files are allowed"}
MESSAGES = ("/api/share", "/api/auth", "/api/user", IMPORT)
"""Where errors are ``{"message": ...}`` whatever they are about."""


def render_error(problem: Problem, request: web.Request) -> web.Response:
    """``{"error": ...}`` for input, ``{"message": ...}`` for who may and how much, plain text for faults."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    if request.match_info.http_exception is not None:
        return _json({"message": _routing(problem)}, problem.status)
    match problem.code:
        case "missing_credentials":
            return _refused(NO_TOKEN)
        case "invalid_credentials":
            return _refused(UNKNOWN_TOKEN if problem.message == UNRECOGNISED else problem.message)
        case "malformed_body" if path != IMPORT:
            told = {"error": "Invalid JSON format", "message": "The request body contains malformed JSON"}
            return _json(told, problem.status)
    if problem.status == 500:
        if path == "/api/convos" and request.method == "GET":
            return _json({"error": "Error fetching conversations"}, 500)
        return web.Response(text=CRASHES.get(path, CRASH), status=500)
    text = IMPORTS.get(problem.status, "") if path == IMPORT else ""
    shape = "message" if problem.status in (413, 415, 429) or path.startswith(MESSAGES) else "error"
    return _json({shape: text or _told(problem)}, problem.status)


def _routing(problem: Problem) -> str:
    return "Endpoint not found" if problem.status == 404 else problem.message


def _refused(message: str) -> web.Response:
    response = _json({"message": message}, 401)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _told(problem: Problem) -> str:
    """A sentence; of several fields that do not fit, about the first."""
    for field in problem.fields:
        names = [str(step) for step in field.loc[1:] if step != "arg"]
        if names and _PREDICATE.match(field.message):
            return f"{'.'.join(names)} {field.message}"
        return _sentence(field.message)
    if problem.status == 400 and problem.code != "malformed_body":  # those that begin with the name of a field
        return problem.message
    return _sentence(problem.message)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _json(data: object, status: int) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")
