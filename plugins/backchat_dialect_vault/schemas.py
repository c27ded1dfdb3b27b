"""What comes in: bodies and query strings of the vault dialect."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, post_load, validates_schema

from backchat.domain.vault import (
    CATEGORY_MAX,
    CHAT_MAX,
    MODEL_MAX,
    PLATFORM_MAX,
    TAG_MAX,
    TAGS_MAX,
    TITLE_MAX,
    TOPIC_MAX,
    PlainPush,
    Push,
    SealedContent,
    SealedPush,
)
from backchat.sealing.keys import IV_BYTES, TAG_BYTES
from backchat_dialect_vault.fields import (
    REQUIRED,
    Binary,
    Count,
    Flag,
    KeyId,
    Label,
    Labels,
    Lenient,
    Moment,
    Natural,
    Pattern,
    Switch,
    Words,
)
from backchat_dialect_vault.messages import Messages

SEARCH = 200
"""Characters."""
NAME, SCOPE, SCOPES = 100, 100, 32
"""Characters of a token's name and of a scope, and how many scopes it has at most."""
DETAILS = ("title", "category", "model", "topic")
"""Texts that follow the latest push; tags do as well."""
SEALED = ("encryptedContent", "iv", "messageCount")
"""What a sealed push cannot be without."""


class MessagesSchema(Lenient):
    """The body of adopt."""

    messages = Messages("What is in the entry, decrypted: the full list, in order.", required=True)


class PushSchema(Lenient):
    """One conversation, plain with ``messages`` or sealed with ``encryptedContent``; loads as a ``Push``."""

    chatId = Words(CHAT_MAX, least=1, required=True, description="The sender's own lasting id of the conversation.")
    messages = Messages("Of a plain push: the full list, in order.", allow_none=True)
    title = Words(TITLE_MAX, allow_none=True, description="Missing: as before. null: none. So are the next four.")
    category = Words(CATEGORY_MAX, allow_none=True)
    model = Words(MODEL_MAX, allow_none=True)
    topic = Words(TOPIC_MAX, allow_none=True)
    tags = Labels(TAGS_MAX, TAG_MAX, allow_none=True)
    platform = Words(
        PLATFORM_MAX, least=1, small=True, allow_none=True, description="The token's if it is missing. In any case."
    )
    baseVersion = Count("409 unless it is the current version. 0 is that of no entry.", allow_none=True)
    encryptedContent = Binary("Of a sealed push: ciphertext and tag.", least=TAG_BYTES, allow_none=True)
    iv = Binary("Of a sealed push: 12 bytes.", exactly=IV_BYTES, allow_none=True)
    messageCount = Count("Of a sealed push: how many messages are in it.", allow_none=True)
    contentHash = Pattern(
        "[0-9a-f]{64}",
        "64 hexadecimal digits in small letters",
        "Of a sealed push: without it, every one is a new version.",
        allow_none=True,
    )
    keyId = KeyId("Of a sealed push: of the vault key it is sealed under, if it is one.", allow_none=True)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def is_one_of_both(self, data: Any, original: dict[str, Any], **_: Any) -> None:
        """It is sealed if it has an IV or ciphertext; null is nothing."""
        given = {name for name, value in original.items() if value is not None}
        sealed = not given.isdisjoint(("encryptedContent", "iv"))
        if sealed and "messages" in given:
            raise ValidationError("Send either messages, or encryptedContent with its iv.", "messages")
        if sealed and not given.issuperset(SEALED):
            raise ValidationError({name: [REQUIRED] for name in SEALED if name not in given})
        if not sealed and "messages" not in given:
            raise ValidationError(REQUIRED, "messages")

    @post_load
    def freeze(self, data: dict[str, Any], **_: Any) -> Push:
        details = {name: data[name] for name in DETAILS if name in data}
        if "tags" in data:
            details["tags"] = tuple(data["tags"] or ())
        plain = data.get("messages")
        return Push(
            chat=data["chatId"],
            content=_sealed(data) if plain is None else PlainPush(messages=plain),
            platform=data.get("platform"),
            base=data.get("baseVersion"),
            details=details,
        )


def _sealed(data: dict[str, Any]) -> SealedPush:
    return SealedPush(
        sealed=SealedContent(data["iv"], data["encryptedContent"]),
        messages=data["messageCount"],
        content_hash=data.get("contentHash"),
        key=data.get("keyId"),
    )


class PullSchema(Lenient):
    """The filters of a pull: all of those that are given must hold."""

    platform = Words(least=1, load_default=None, description="In any case.")
    category = Words(load_default=None)
    tag = Labels(TAGS_MAX, TAG_MAX, "May be given more than once: an entry must have all of them.", load_default=())
    chatId = Words(least=1, load_default=None)
    search = Words(
        SEARCH,
        trim=True,
        load_default="",
        description="Words that begin words of the title or the topic. Blank: as if missing.",
    )
    limit = Natural(1, 100, 20)
    offset = Natural(0, None, 0, "How many to leave out.")


# ---- keys and tokens ------------------------------------------------------------------------------------------------


class KeySchema(Lenient):
    keyId = Words(load_default=None, description="Of an older key. The current one if it is missing.")


class RotateSchema(Lenient):
    abandon = Switch(
        "Also if nobody is left who can open the old keys: what is under them is lost.", load_default=False
    )


class NewRecoverySchema(Lenient):
    abandon = Switch(
        "Also if older keys are left that only the recovery key before opens: what is under them is lost.",
        load_default=False,
    )


class RevokeSchema(Lenient):
    abandon = Flag("Also if nobody could open the vault any more, or a part of it.")


class RecoverSchema(Lenient):
    recoveryKey = Words(required=True, description="`bsr_...`, as it was shown once.")


class NewTokenSchema(Lenient):
    name = Label(NAME, least=1, trim=True, required=True)
    platform = Label(PLATFORM_MAX, least=1, trim=True, small=True, load_default=None, allow_none=True)
    scopes = Labels(SCOPES, SCOPE, "Those of the calling token if it is missing.", load_default=None, allow_none=True)
    expiresAt = Moment("When the calling token does if it is missing.", load_default=None, allow_none=True)
    recoveryKey = Words(load_default=None, allow_none=True, description="If the calling token has no vault key.")
