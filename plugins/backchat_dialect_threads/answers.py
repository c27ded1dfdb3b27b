"""What goes out, as schemas: for the OpenAPI document only. ``shapes`` and ``replies`` make the answers themselves."""

from __future__ import annotations

from marshmallow import Schema, fields

_UUID = {"format": "uuid"}


class AssistantSchema(Schema):
    assistant_id = fields.String(metadata=_UUID)
    name = fields.String()
    description = fields.String(allow_none=True)
    system_prompt = fields.String(allow_none=True)
    tools = fields.List(fields.Dict(), allow_none=True)
    tok_k = fields.Integer()
    memory_strategy = fields.String(allow_none=True)
    embedding_provider = fields.String(allow_none=True)
    embedding_model_name = fields.String(allow_none=True)
    embedding_dims = fields.Integer(allow_none=True)
    custom_fact_extraction_prompt = fields.String(allow_none=True)
    custom_update_memory_prompt = fields.String(allow_none=True)
    created_at = fields.DateTime()


class ClonedSchema(Schema):
    assistant = fields.Nested(AssistantSchema)
    documents_cloned = fields.Integer()
    memories_cloned = fields.Integer()


class _RemovedSchema(Schema):
    message = fields.String()
    deleted_at = fields.DateTime()


class AssistantRemovedSchema(_RemovedSchema):
    assistant_id = fields.String(metadata=_UUID)


class ThreadRemovedSchema(_RemovedSchema):
    thread_id = fields.String(metadata=_UUID)


class DocumentRemovedSchema(_RemovedSchema):
    document_id = fields.String(metadata=_UUID)


class AttachmentSchema(Schema):
    document_id = fields.String(metadata=_UUID)
    filename = fields.String()
    status = fields.String(metadata={"description": "That of the document, or deleted."})
    file_size_bytes = fields.Integer(allow_none=True)
    summary = fields.String(allow_none=True)


class FunctionSchema(Schema):
    name = fields.String()
    arguments = fields.String(metadata={"description": "JSON that fits the tool's schema."})


class ToolCallSchema(Schema):
    id = fields.String()
    type = fields.String(metadata={"enum": ["function"]})
    function = fields.Nested(FunctionSchema)


class MessageInThreadSchema(Schema):
    message_id = fields.String(metadata=_UUID)
    role = fields.String(metadata={"enum": ["user", "assistant", "system", "tool"]})
    content = fields.String(allow_none=True)
    status = fields.String()
    created_at = fields.DateTime()
    metadata_ = fields.Dict()
    attachments = fields.List(fields.Nested(AttachmentSchema), allow_none=True)
    tool_calls = fields.List(fields.Nested(ToolCallSchema))
    tool_call_id = fields.String()


class ThreadSchema(Schema):
    thread_id = fields.String(metadata=_UUID)
    assistant_id = fields.String(allow_none=True, metadata=_UUID)
    created_at = fields.DateTime()
    metadata_ = fields.Dict()
    messages = fields.List(fields.Nested(MessageInThreadSchema), metadata={"description": "Empty in listings."})


class RecalledSchema(Schema):
    id = fields.String()
    memory = fields.String()
    score = fields.Float()


class CitedSchema(Schema):
    n = fields.Integer(metadata={"description": "Its number in the marks."})
    id = fields.String()
    memory = fields.String()


class ContextUsageSchema(Schema):
    percent = fields.Float()
    used_tokens = fields.Integer()
    context_limit = fields.Integer()
    summary_tokens = fields.Integer()
    model = fields.String()


class ReplySchema(Schema):
    message = fields.String(metadata={"description": "What happened, for people."})
    thread_id = fields.String(metadata=_UUID)
    assistant_id = fields.String(metadata=_UUID)
    content = fields.String(allow_none=True)
    message_id = fields.String(allow_none=True, metadata=_UUID)
    role = fields.String()
    status = fields.String(metadata={"enum": ["COMPLETED", "REQUIRES_ACTION", "FAILED", "CANCELLED"]})
    tool_calls = fields.List(fields.Nested(ToolCallSchema), allow_none=True)
    run_id = fields.String(allow_none=True)
    memory_operation_id = fields.String(allow_none=True)
    retrieved_memories = fields.List(fields.Nested(RecalledSchema), allow_none=True)
    memory_citations = fields.List(fields.Nested(CitedSchema), allow_none=True)
    retrieved_files = fields.List(fields.String(), allow_none=True)
    reasoning = fields.String(allow_none=True)
    model_provider = fields.String(allow_none=True)
    model_name = fields.String(allow_none=True)
    input_tokens = fields.Integer(allow_none=True)
    output_tokens = fields.Integer(allow_none=True)
    total_tokens = fields.Integer(allow_none=True)
    created_at = fields.DateTime()
    attachments = fields.List(fields.Nested(AttachmentSchema), allow_none=True)
    timestamp = fields.DateTime()
    context_usage = fields.Nested(ContextUsageSchema)


class CancelledSchema(Schema):
    thread_id = fields.String(metadata=_UUID)
    run_id = fields.String()
    cancelled = fields.Boolean(metadata={"description": "false if it had ended otherwise before."})


class DocumentSchema(Schema):
    document_id = fields.String(metadata=_UUID)
    filename = fields.String()
    status = fields.String(metadata={"enum": ["pending", "processing", "indexed", "failed"]})
    status_message = fields.String(allow_none=True)
    summary = fields.String(allow_none=True)
    created_at = fields.DateTime()
    updated_at = fields.DateTime()
    processing_started_at = fields.DateTime(allow_none=True)
    processing_completed_at = fields.DateTime(allow_none=True)
    file_size_bytes = fields.Integer()
    total_tokens = fields.Integer()
    chunk_count = fields.Integer()
    document_type = fields.String(allow_none=True)
    metadata_ = fields.Dict()


class MemorySchema(Schema):
    id = fields.String()
    content = fields.String()
    metadata = fields.Dict()
    score = fields.Float(metadata={"description": "In a search."})
    created_at = fields.DateTime()
    updated_at = fields.DateTime()


class MemoriesSchema(Schema):
    memories = fields.List(fields.Nested(MemorySchema))
    total_count = fields.Integer()
    page = fields.Integer()
    page_size = fields.Integer()
    total_pages = fields.Integer()


class SuccessSchema(Schema):
    success = fields.Boolean()
    message = fields.String()


class MemoryAddedSchema(SuccessSchema):
    memory_id = fields.String()
    content = fields.String()


class StatsSchema(Schema):
    total_memories = fields.Integer()
    last_updated = fields.DateTime(allow_none=True)
    limits = fields.Dict()


class InsightsSchema(Schema):
    snapshot = fields.Dict()
    contentSignals = fields.Dict()
    breakdown = fields.Dict()
    operations = fields.Dict()


class OperationSchema(Schema):
    operation_id = fields.String()
    status = fields.String(metadata={"enum": ["PENDING", "COMPLETED", "ERROR"]})
    memory_ids = fields.List(fields.String())
    result_count = fields.Integer()
    error = fields.String(allow_none=True)
    created_at = fields.DateTime()
    updated_at = fields.DateTime()


class ModelSchema(Schema):
    name = fields.String()
    provider = fields.String()
    model_type = fields.String()
    context_limit = fields.Integer()


class ModelsSchema(Schema):
    models = fields.List(fields.Nested(ModelSchema))
    total = fields.Integer()


class EmbeddingModelSchema(Schema):
    name = fields.String()
    provider = fields.String()
    embedding_dimensions = fields.Integer()
    context_limit = fields.Integer()


class EmbeddingModelsSchema(Schema):
    models = fields.List(fields.Nested(EmbeddingModelSchema))
    total = fields.Integer()


class ProvidersSchema(Schema):
    providers = fields.List(fields.String())
    total = fields.Integer()
