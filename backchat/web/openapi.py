"""The OpenAPI document, made from the mounted routes and their marshmallow schemas."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiohttp import web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from backchat._version import __version__
from backchat.web.dialect import Route
from backchat.web.keys import DIALECTS

_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]


def _schema_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return f"{kind.__module__.split('.')[0].removeprefix('backchat_dialect_')}_{kind.__name__.removesuffix('Schema')}"


def document(app: web.Application) -> dict[str, Any]:
    """OpenAPI 3.0.3 for every route of every mounted dialect."""
    marshmallow = MarshmallowPlugin(schema_name_resolver=_schema_name)
    spec = APISpec(title="backchat", version=__version__, openapi_version="3.0.3", plugins=[marshmallow])
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    spec.components.security_scheme("apiKey", {"type": "apiKey", "in": "header", "name": "X-API-Key"})
    uses: Counter[str] = Counter()
    for mounted, (dialect, route) in app[DIALECTS].items():
        assert mounted.resource is not None
        path = mounted.resource.canonical
        operation = _operation(dialect.name, route, path)
        uses[id := operation["operationId"]] += 1
        if uses[id] > 1:  # a handler may serve several routes
            operation["operationId"] = f"{id}_{uses[id]}"
        spec.path(path=path, operations={route.method.lower(): operation})
    return spec.to_dict()


def _operation(dialect: str, route: Route, path: str) -> dict[str, Any]:
    parameters: list[Any] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _names(path)
    ]
    if route.query is not None:
        parameters.append({"in": "query", "schema": route.query})
    parameters += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.headers.items()
    ]
    operation: dict[str, Any] = {
        "tags": [dialect],
        "summary": route.summary,
        "operationId": f"{dialect}_{route.handler.__name__}",
        "security": [] if route.public else _SECURITY,
        "parameters": parameters,
        "responses": {str(status): _response(route, status, text) for status, text in route.statuses.items()},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": any(field.required for field in route.body.fields.values()),
            "content": {accepted: {"schema": route.body} for accepted in route.accepts},
        }
    return operation


def _response(route: Route, status: int, text: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if 200 <= status < 300 and route.answer is not None:
        content["application/json"] = {"schema": route.answer}
    if 200 <= status < 300 and route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": text, **({"content": content} if content else {})}


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]
