"""The routes of the catalogue. The last one takes any path: names of models hold slashes, and nobody quotes them."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_threads import answers, schemas
from backchat_dialect_threads import handlers_models as models
from backchat_dialect_threads.routes_assistants import FAILS, FOUND, QUERY, statuses

_LISTS = statuses(FAILS, QUERY, ok="The models")
_NAMES = statuses(FAILS, ok="Their names")
_ONE = statuses(FOUND, ok="The model")

ROUTES = [
    Route(
        method="GET",
        path="/models",
        handler=models.list_models,
        summary="List the models that can be asked for",
        query=schemas.ModelQuerySchema(),
        answer=answers.ModelsSchema(),
        statuses=_LISTS,
    ),
    Route(
        method="GET",
        path="/models/providers",
        handler=models.list_providers,
        summary="List the configured providers",
        answer=answers.ProvidersSchema(),
        statuses=_NAMES,
    ),
    Route(
        method="GET",
        path="/models/provider/{provider_name}",
        handler=models.list_provider_models,
        summary="List the models of a provider",
        query=schemas.SliceSchema(),
        answer=answers.ModelsSchema(),
        statuses=_LISTS,
    ),
    Route(
        method="GET",
        path="/models/embedding/all",
        handler=models.list_embedding_models,
        summary="List the embedding models",
        query=schemas.EmbeddingModelQuerySchema(),
        answer=answers.EmbeddingModelsSchema(),
        statuses=_LISTS,
    ),
    Route(
        method="GET",
        path="/models/embedding/providers",
        handler=models.list_embedding_providers,
        summary="List the configured embedders",
        answer=answers.ProvidersSchema(),
        statuses=_NAMES,
    ),
    Route(
        method="GET",
        path="/models/embedding/{model_name:.+}",
        handler=models.get_embedding_model,
        summary="An embedding model",
        answer=answers.EmbeddingModelSchema(),
        statuses=_ONE,
    ),
    Route(
        method="GET",
        path="/models/image/all",
        handler=models.list_image_models,
        summary="List the models that make images",
        query=schemas.MediaModelQuerySchema(),
        answer=answers.ModelsSchema(),
        statuses=_LISTS,
    ),
    Route(
        method="GET",
        path="/models/image/providers",
        handler=models.list_image_providers,
        summary="List the providers of models that make images",
        answer=answers.ProvidersSchema(),
        statuses=_NAMES,
    ),
    Route(
        method="GET",
        path="/models/image/{model_name:.+}",
        handler=models.get_image_model,
        summary="A model that makes images",
        answer=answers.ModelSchema(),
        statuses=_ONE,
    ),
    Route(
        method="GET",
        path="/models/video/all",
        handler=models.list_video_models,
        summary="List the models that make videos",
        query=schemas.MediaModelQuerySchema(),
        answer=answers.ModelsSchema(),
        statuses=_LISTS,
    ),
    Route(
        method="GET",
        path="/models/video/{model_name:.+}",
        handler=models.get_video_model,
        summary="A model that makes videos",
        answer=answers.ModelSchema(),
        statuses=_ONE,
    ),
    Route(
        method="GET",
        path="/models/{model_name:.+}",
        handler=models.get_model,
        summary="A model, by its name or by provider/name, without regard to case",
        answer=answers.ModelSchema(),
        statuses=_ONE,
    ),
]
