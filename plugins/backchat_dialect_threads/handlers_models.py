"""The catalogue of models."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from backchat.domain.model import ModelInfo
from backchat.errors import NotFound
from backchat.services.catalogue import ModelFilter
from backchat.web.dialect import Call
from backchat_dialect_threads import shapes
from backchat_dialect_threads.replies import json_answer


async def list_models(call: Call) -> web.Response:
    query = call.query
    return await _models(
        call,
        ModelFilter(
            kind=query["model_type"],
            provider=query["provider"],
            tools=query["supports_tools"],
            min_context=query["min_context"],
            max_context=query["max_context"],
            skip=query["skip"],
            limit=query["limit"],
        ),
    )


async def list_provider_models(call: Call) -> web.Response:
    return await _models(call, ModelFilter(provider=call.path("provider_name"), **call.query))


async def _models(call: Call, wanted: ModelFilter) -> web.Response:
    found, total = await call.services.catalogue.browse(wanted)
    return json_answer({"models": [shapes.model(m) for m in found], "total": total})


async def get_model(call: Call) -> web.Response:
    return json_answer(shapes.model(await call.services.catalogue.model(call.path("model_name"))))


async def list_providers(call: Call) -> web.Response:
    return _names(call.services.catalogue.providers())


async def list_embedding_models(call: Call) -> web.Response:
    found, total = call.services.catalogue.browse_embedding_models(ModelFilter(**call.query))
    return json_answer({"models": [shapes.embedding_model(m) for m in found], "total": total})


async def list_embedding_providers(call: Call) -> web.Response:
    return _names(call.services.catalogue.embedding_providers())


async def get_embedding_model(call: Call) -> web.Response:
    return json_answer(shapes.embedding_model(call.services.catalogue.embedding_model(call.path("model_name"))))


async def list_image_models(call: Call) -> web.Response:
    return _media(call, call.services.catalogue.image_models())


async def list_image_providers(call: Call) -> web.Response:
    return _names(sorted({m.provider for m in call.services.catalogue.image_models()}))


async def get_image_model(call: Call) -> web.Response:
    return _medium(call, call.services.catalogue.image_models())


async def list_video_models(call: Call) -> web.Response:
    return _media(call, call.services.catalogue.video_models())


async def get_video_model(call: Call) -> web.Response:
    return _medium(call, call.services.catalogue.video_models())


def _names(names: Sequence[str]) -> web.Response:
    return json_answer({"providers": list(names), "total": len(names)})


def _media(call: Call, models: Sequence[ModelInfo]) -> web.Response:
    found, total = ModelFilter(**call.query).page(models)
    return json_answer({"models": [shapes.model(m) for m in found], "total": total})


def _medium(call: Call, models: Sequence[ModelInfo]) -> web.Response:
    wanted = call.path("model_name").lower()
    for model in models:
        if model.name.lower() == wanted:
            return json_answer(shapes.model(model))
    raise NotFound("no such model")
