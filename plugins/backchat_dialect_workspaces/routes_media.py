"""The routes of transcription, translation and credits."""

from __future__ import annotations

from backchat.web.body import MULTIPART
from backchat.web.dialect import Route
from backchat_dialect_workspaces import handlers_media as media
from backchat_dialect_workspaces import opening
from backchat_dialect_workspaces import schemas_media as schemas
from backchat_dialect_workspaces.settings import transcriptions
from backchat_dialect_workspaces.statuses import BROKE, LIMITED, MISSING, UNFIT, statuses

TRANSLATE = "/api/workspaces/{workspace_id}/translate/"
MODEL = {
    **BROKE,
    502: "The model service failed",
    503: "Nothing is configured for this",
    504: "The model service took too long",
}
TRANSLATED = statuses(UNFIT, MISSING, MODEL, ok="The translation")

ROUTES = [
    Route(
        method="POST",
        path="/api/transcribe-audio/",
        handler=media.transcribe,
        summary="The text of a recording, which is kept nowhere",
        body=schemas.UploadSchema(),
        answer=schemas.TranscriptSchema(),
        accepts=(MULTIPART,),
        streamed=True,
        statuses=statuses(
            {**UNFIT, 413: "The recording is larger than 25 MiB", 415: "It is not of a known format"},
            MISSING,
            LIMITED,
            MODEL,
            ok="The text, and its language",
        ),
        limited=transcriptions,
    ),
    Route(
        method="GET",
        path=TRANSLATE,
        handler=media.translate,
        summary="A text in another language",
        query=schemas.TranslateSchema(),
        answer=schemas.TranslationSchema(),
        statuses=TRANSLATED,
        opens=opening.workspace(),
    ),
    Route(
        method="POST",
        path=TRANSLATE,
        handler=media.translate_body,
        summary="The same, for texts that are too long for an address",
        body=schemas.TranslateSchema(),
        answer=schemas.TranslationSchema(),
        statuses=TRANSLATED,
        opens=opening.workspace(),
    ),
    Route(
        method="GET",
        path="/api/users/credit-usage/",
        handler=media.credit_usage,
        summary="What the caller has spent, and may",
        answer=schemas.CreditSchema(),
        statuses=statuses(ok="In US dollars"),
    ),
]
