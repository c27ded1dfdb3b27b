"""What comes in: bodies and query strings of the threads dialect. Unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate

from backchat.web.fields import DEPTH, Uploads, Whole, too_deep

LARGEST = 10**9
_KEEP_EMPTY = ("content", "system_prompt")


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("Must not be blank.")


def _not_too_deep(value: Any) -> None:
    if too_deep(value):
        raise ValidationError(f"Nested deeper than {DEPTH}.")


class Json(fields.Field[Any]):
    """A JSON object or list; in a form it is the text of one."""

    def __init__(self, kind: type[dict[str, Any]] | type[list[Any]], **kwargs: Any) -> None:
        kwargs["metadata"] = {"type": "object" if kind is dict else "array", **kwargs.get("metadata", {})}
        if kind is list:
            kwargs["metadata"]["items"] = {"type": "object"}
        super().__init__(load_default=None, allow_none=True, **kwargs)
        self._kind = kind

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Any:
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise ValidationError("Not valid JSON.") from None
        if value is None:
            return None
        if not isinstance(value, self._kind):
            raise ValidationError(f"Must be a JSON {'object' if self._kind is dict else 'list'}.")
        _not_too_deep(value)
        return value


class Lenient(Schema):
    class Meta:
        unknown = EXCLUDE


def _text(description: str, **more: Any) -> fields.String:
    return fields.String(**{"load_default": None, "allow_none": True, **more}, metadata={"description": description})


def _range(low: int, high: int, default: int | None, description: str) -> Whole:
    return Whole(load_default=default, validate=validate.Range(low, high), metadata={"description": description})


# ---- assistants -----------------------------------------------------------------------------------------------------


class _AssistantFields(Lenient):
    description = _text("For people.")
    system_prompt = _text("Instructions for the model.")
    tools = Json(list, metadata={"description": "Functions that the client runs, in the form of OpenAI's API."})
    tok_k = _range(1, 100, None, "How many memories, and how many passages of documents, ground a reply.")
    memory_strategy = _text("Name of the memory strategy of its threads; null for the server's default.")
    custom_fact_extraction_prompt = _text("Instructions for finding what is worth remembering.")
    custom_update_memory_prompt = _text("Instructions for fitting it to what is remembered already.")

    @pre_load
    def without_null(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """What has to have a value counts as not given; the others are empty then."""
        return {name: value for name, value in data.items() if value is not None or name not in ("name", "tok_k")}


_NAME: dict[str, Any] = {
    "validate": validate.And(validate.Length(max=500), _not_blank),
    "metadata": {"description": "At most 500 characters."},
}


_EMBEDDING = "Must be what the embedder has, named or default; kept and shown where there is none."


class CreateAssistantSchema(_AssistantFields):
    name = fields.String(required=True, **_NAME)
    embedding_provider = _text("Name of the configured embedder for its documents and memories.")
    embedding_model_name = _text(f"Its model. {_EMBEDDING}", validate=validate.Length(max=500))
    embedding_dims = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, 100_000),
        metadata={"description": f"The size of its vectors. {_EMBEDDING}"},
    )


class UpdateAssistantSchema(_AssistantFields):
    """Only what is given changes."""

    name = fields.String(**_NAME)


class CloneSchema(Lenient):
    name = _text("Name of the copy.", validate=validate.And(validate.Length(max=500), _not_blank))
    system_prompt = _text("Instead of the original's.")
    copy_documents = fields.Boolean(load_default=True, metadata={"description": "Copy the indexed documents."})
    copy_memories = fields.Boolean(load_default=True, metadata={"description": "Copy the memories."})


class PageSchema(Lenient):
    skip = _range(0, LARGEST, 0, "How many to leave out.")
    limit = _range(1, 200, 100, "How many at most.")


class AssistantsSchema(PageSchema):
    name = _text("Only assistants of exactly this name.")


# ---- threads and messages -------------------------------------------------------------------------------------------


class NewThreadSchema(Lenient):
    metadata = Json(dict, data_key="metadata_", metadata={"description": "Anything; comes back."})


class MessageSchema(Lenient):
    """What a message may have, whichever way it is encoded. Null, or empty in a form, is absent."""

    content = _text("What the user says.")
    thread_id = _text("The thread; without it a new one begins.")
    assistant_id = _text("The assistant of a new thread; without it the caller's default one.")
    system_prompt = _text("Instructions instead of the assistant's, for this turn.")
    tools = Json(list, metadata={"description": "Tools instead of the assistant's, for this turn."})
    llm_provider = _text("Name of a configured provider; without it the caller's default, else the server's.")
    model_name = _text("A model of that provider; without it the configured one.", validate=validate.Length(max=500))
    stream = fields.Boolean(load_default=False, metadata={"description": "Answer as a stream of events."})
    memory = _text("Auto: recall and learn; Readonly: recall; off.")
    memory_pro = _text("The same as memory; not together with it.")
    memory_response_citation = fields.Boolean(
        load_default=False, metadata={"description": "Ask the model to mark what it took from where, as [n]."}
    )
    web_search = _text("Auto or off: with the tools of this server that look things up in the web, if it has any.")
    send_to_llm = fields.Boolean(  # a string even in JSON
        load_default=True, metadata={"description": "false: store the message, answer nothing."}
    )
    json_output = fields.Boolean(
        load_default=False, metadata={"description": "Ask for a JSON object; without effect with tools or web search."}
    )
    thinking = Json(dict, metadata={"description": "Think first: {} or effort, budget_tokens, exclude_reasoning."})
    openrouter = Json(dict, metadata={"description": "Passed to OpenRouter; other providers do not take it."})
    metadata = Json(dict, metadata={"description": "Kept with the message; custom_timestamp is ISO 8601."})
    files = Uploads(metadata={"description": "Become documents of the thread."})
    operation = _text("chat; the others are refused.")
    image_generation = _text("off; anything else is refused.")
    video_generation = _text("off; anything else is refused.")
    voice = Json(dict, metadata={"description": "Refused."})
    system_one = Json(dict, metadata={"description": "Refused."})
    audio_file = Uploads(metadata={"description": "Refused."})
    input_image = Uploads(metadata={"description": "Refused."})
    input_last_frame = Uploads(metadata={"description": "Refused."})
    input_video = Uploads(metadata={"description": "Refused."})
    input_references = Uploads(metadata={"description": "Refused."})

    @pre_load
    def present(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {
            name: value for name, value in data.items() if value is not None and (value != "" or name in _KEEP_EMPTY)
        }


class OutputSchema(Lenient):
    tool_call_id = fields.String(required=True, metadata={"description": "Id of the call."})
    output = fields.Raw(
        required=True,
        validate=_not_too_deep,
        metadata={
            "description": "What the tool answered: text, or JSON. Of a call that the user is asked about: "
            '{"approve": true} or {"approve": false, "reason": ...}.'
        },
    )


class _OutputsSchema(Lenient):
    tool_outputs = fields.List(
        fields.Nested(OutputSchema), required=True, metadata={"description": "One for each call, in any order."}
    )


class SubmitSchema(_OutputsSchema):
    tools = Json(list, metadata={"description": "Tools instead of the turn's, from here on."})
    thinking = Json(dict, metadata={"description": "Thinking instead of the turn's, from here on."})


class SubmitSimpleSchema(_OutputsSchema):
    thread_id = fields.String(required=True, metadata={"description": "The thread whose latest run waits."})
    stream = fields.Boolean(load_default=False, metadata={"description": "Answer as a stream of events."})


class StreamSchema(Lenient):
    stream = fields.Boolean(load_default=False, metadata={"description": "Answer as a stream of events."})


class UploadSchema(Lenient):
    file = Uploads(required=True, metadata={"description": "The one file."})


# ---- memories -------------------------------------------------------------------------------------------------------


class MemoryPageSchema(Lenient):
    page = Whole(
        load_default=None, validate=validate.Range(1, LARGEST), metadata={"description": "From 1; without it, all."}
    )
    page_size = Whole(
        load_default=None, validate=validate.Range(1, 100), metadata={"description": "1 to 100; 25 unless given."}
    )


class MemoryBodySchema(Lenient):
    content = fields.String(required=True, validate=_not_blank, metadata={"description": "What to remember."})
    metadata = Json(dict, metadata={"description": "Anything; comes back."})


class SearchBodySchema(Lenient):
    query = fields.String(required=True, validate=_not_blank, metadata={"description": "What to look for."})
    limit = _range(1, 50, 5, "How many at most.")


# ---- models ---------------------------------------------------------------------------------------------------------


class SliceSchema(Lenient):
    """Any number will do: the SDK sends what it is given, and ``ModelFilter`` makes sense of it."""

    skip = Whole(load_default=0, metadata={"description": "How many to leave out; less than 0 is 0."})
    limit = Whole(load_default=100, metadata={"description": "How many at most: 1 to 1000, or the nearest of these."})


class ModelQuerySchema(SliceSchema):
    model_type = _text("llm or embedding.")
    provider = _text("Only models of this provider.")
    supports_tools = fields.Boolean(load_default=None, metadata={"description": "Only models that do, or do not."})
    min_context = _range(0, LARGEST, None, "Least size of the context, in tokens.")
    max_context = _range(0, LARGEST, None, "Greatest size of the context, in tokens.")


class EmbeddingModelQuerySchema(SliceSchema):
    provider = _text("Only models of this provider.")
    min_dimensions = _range(0, LARGEST, None, "Least number of dimensions.")
    max_dimensions = _range(0, LARGEST, None, "Greatest number of dimensions.")


class MediaModelQuerySchema(SliceSchema):
    provider = _text("Only models of this provider.")
