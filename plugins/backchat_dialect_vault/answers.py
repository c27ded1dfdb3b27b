"""What goes out, as schemas: for the OpenAPI document only. ``shapes`` makes the answers themselves."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields


def _text(description: str = "") -> fields.String:
    return fields.String(metadata={"description": description} if description else {})


def _maybe(description: str = "") -> fields.String:
    return fields.String(allow_none=True, metadata={"description": description} if description else {})


def _true() -> fields.Boolean:
    return fields.Boolean(metadata={"enum": [True]})


def _bytes(description: str) -> fields.String:
    return fields.String(metadata={"format": "byte", "description": description})


class PushedSchema(Schema):
    success = _true()
    entryId = fields.Integer()
    message = _text("For people.")
    version = fields.Integer(metadata={"description": "The current one."})
    changed = fields.Boolean(metadata={"description": "Whether anything is other than before."})


class EntrySchema(Schema):
    id = fields.Integer()
    chatId = _text()
    title = _text("`Untitled` if it was given none.")
    platform = _text("In small letters.")
    category = _maybe()
    topic = _maybe()
    tags = fields.List(_text())
    model = _maybe()
    messageCount = fields.Integer()
    createdAt = fields.DateTime(metadata={"description": "Of the first push."})
    updatedAt = fields.DateTime(metadata={"description": "Of the last push that changed something."})
    version = fields.Integer()
    contentHash = _maybe("HMAC under a key derived from the vault key: 64 hexadecimal digits.")
    keyId = _maybe("Of the vault key it is sealed under; null: of a key that only its sender knows.")
    encryptedContent = _bytes("Of the latest version: ciphertext and tag.")
    iv = _bytes("12 bytes.")


class PulledSchema(Schema):
    total = fields.Integer(metadata={"description": "How many fit, with those that this answer leaves out."})
    platform = _text("The filter; `all` if there was none.")
    entries = fields.List(fields.Nested(EntrySchema))


class VersionSchema(Schema):
    version = fields.Integer()
    messageCount = fields.Integer()
    createdAt = fields.DateTime()
    contentHash = _maybe()


class VersionsSchema(Schema):
    versions = fields.List(fields.Nested(VersionSchema), metadata={"description": "Oldest first."})
    total = fields.Integer()


class SealedVersionSchema(VersionSchema):
    keyId = _maybe()
    encryptedContent = _bytes("Ciphertext and tag.")
    iv = _bytes("12 bytes.")


class AdoptedSchema(Schema):
    success = _true()
    entryId = fields.Integer()
    conversationId = _text("In all other dialects.")
    message = _text("For people.")


# ---- keys and tokens ------------------------------------------------------------------------------------------------


class WrapSchema(Schema):
    keyId = _text()
    wrappedKey = _bytes("The vault key under AES-256-GCM: 48 bytes.")
    iv = _bytes("12 bytes.")
    kdf = fields.String(metadata={"enum": ["HKDF-SHA256"]})
    info = fields.String(metadata={"enum": ["backspace-kek-v1"]})
    platform = _maybe("Of the token.")


class KnownKeySchema(Schema):
    id = _text("The `keyId` of what is sealed under it.")
    createdAt = fields.DateTime()
    current = fields.Boolean(metadata={"description": "Whether it is the one to seal under now."})


class KeysSchema(Schema):
    keys = fields.List(fields.Nested(KnownKeySchema), metadata={"description": "Oldest first."})
    total = fields.Integer()


class KeyIdSchema(Schema):
    success = _true()
    keyId = _text("Of the current vault key.")


class RecoveryKeySchema(Schema):
    success = _true()
    recoveryKey = _text("`bsr_...`. It is shown this once.")


class TokenSchema(Schema):
    id = _text()
    name = _text()
    platform = _maybe()
    scopes: fields.List[Any] = fields.List(_text(), metadata={"description": "Empty: all."})
    createdAt = fields.DateTime()
    expiresAt = fields.DateTime(allow_none=True)
    hasKey = fields.Boolean(metadata={"description": "Whether it opens the current vault key."})


class IssuedSchema(TokenSchema):
    success = _true()
    token = _text("`bsk_...`. It is shown this once.")


class TokensSchema(Schema):
    tokens = fields.List(fields.Nested(TokenSchema), metadata={"description": "Oldest first."})
    total = fields.Integer()
