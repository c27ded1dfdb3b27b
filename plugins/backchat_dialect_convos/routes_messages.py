"""The routes of messages, tags and share links."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_convos import answers, schemas
from backchat_dialect_convos import handlers_messages as messages
from backchat_dialect_convos import handlers_shares as shares
from backchat_dialect_convos import handlers_tags as tags
from backchat_dialect_convos.routes_convos import BODY, LIMITED, MISSING, UNFIT, statuses
from backchat_dialect_convos.settings import forks, shared

_OF = "/api/messages/{conversationId}"
_ONE = f"{_OF}/{{messageId}}"
_BUSY = {409: "The id is taken elsewhere, or it is a reply that is being made"}
_TAG = "/api/tags/{tag}"
_SHARE = "/api/share/{shareId}"

MESSAGES = [
    Route(
        method="GET",
        path="/api/messages",
        handler=messages.find_messages,
        summary="Search messages, or list those of a conversation in pages",
        query=schemas.MessagesQuerySchema(),
        answer=answers.MessagesPageSchema(),
        statuses=statuses(UNFIT, MISSING, ok="A page"),
    ),
    Route(
        method="GET",
        path=_OF,
        handler=messages.list_messages,
        summary="The messages of every branch of a conversation, parents before their children",
        answer=answers.MessageSchema(many=True),
        statuses=statuses(MISSING, ok="The messages"),
    ),
    Route(
        method="POST",
        path=_OF,
        handler=messages.put_message,
        summary="Store a message; in a new conversation, if it is called new",
        body=schemas.NewMessageSchema(),
        answer=answers.MessageSchema(),
        statuses=statuses(BODY, MISSING, _BUSY, ok="The message", status=201),
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=messages.get_message,
        summary="A list of one message, or of none",
        answer=answers.MessageSchema(many=True),
        statuses=statuses(MISSING, ok="The message"),
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=messages.edit_message,
        summary="Change the text of a message, or of one of its parts",
        body=schemas.EditSchema(),
        answer=answers.MessageSchema(),
        statuses=statuses(BODY, MISSING, _BUSY, ok="The message"),
    ),
    Route(
        method="PUT",
        path=f"{_ONE}/feedback",
        handler=messages.set_feedback,
        summary="Say how good a message is; null takes it back",
        body=schemas.FeedbackSchema(),
        answer=answers.FeedbackAnswerSchema(),
        statuses=statuses(BODY, MISSING, _BUSY, ok="The feedback"),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=messages.delete_message,
        summary="Delete one message; its children stay",
        body=schemas.NamedSchema(),
        statuses=statuses(BODY, MISSING, _BUSY, ok="Deleted", status=204),
    ),
]
TAGS = [
    Route(
        method="GET",
        path="/api/tags",
        handler=tags.list_tags,
        summary="List tags by position",
        answer=answers.TagAnswerSchema(many=True),
        statuses=statuses(ok="The tags"),
    ),
    Route(
        method="POST",
        path="/api/tags",
        handler=tags.create_tag,
        summary="Make a tag, and give it to a conversation if wanted",
        body=schemas.NewTagSchema(),
        answer=answers.TagAnswerSchema(),
        statuses=statuses(BODY, MISSING, ok="The tag"),
    ),
    Route(
        method="PUT",
        path="/api/tags/convo/{conversationId}",
        handler=tags.tag_convo,
        summary="Give a conversation these tags and no others",
        body=schemas.TagsSchema(),
        statuses=statuses(BODY, MISSING, ok="The tags that it has"),
    ),
    Route(
        method="PUT",
        path=_TAG,
        handler=tags.update_tag,
        summary="Rename, describe or move a tag",
        body=schemas.TagSchema(),
        answer=answers.TagAnswerSchema(),
        statuses=statuses(BODY, MISSING, {409: "There is a tag of that name"}, ok="The tag"),
    ),
    Route(
        method="DELETE",
        path=_TAG,
        handler=tags.delete_tag,
        summary="Delete a tag, and take it off all conversations",
        answer=answers.TagAnswerSchema(),
        statuses=statuses(MISSING, ok="The tag"),
    ),
]
SHARES = [
    Route(
        method="GET",
        path="/api/share",
        handler=shares.list_shares,
        summary="List links",
        query=schemas.SharesQuerySchema(),
        answer=answers.LinksSchema(),
        statuses=statuses(UNFIT, ok="A page"),
    ),
    Route(
        method="GET",
        path="/api/share/link/{conversationId}",
        handler=shares.get_link,
        summary="The link to a conversation, if there is one",
        answer=answers.LinkSchema(),
        statuses=statuses(MISSING, ok="The link"),
    ),
    Route(
        method="POST",
        path="/api/share/{conversationId}",
        handler=shares.create_share,
        summary="Make a link under which anybody can read a conversation as it is now",
        body=schemas.ShareSchema(),
        answer=answers.LinkSchema(),
        statuses=statuses(BODY, MISSING, {409: "There is such a link already"}, ok="The link"),
    ),
    Route(
        method="GET",
        path=_SHARE,
        handler=shares.read_share,
        summary="What a link shows",
        answer=answers.SharedSchema(),
        statuses={200: "The conversation", 404: "There is no such link, or what it showed is gone", **LIMITED},
        public=True,
        limited=shared,
    ),
    Route(
        method="PATCH",
        path=_SHARE,
        handler=shares.update_share,
        summary="Make a link show the conversation as it is now",
        body=schemas.ShareSchema(),
        answer=answers.LinkSchema(),
        statuses=statuses(BODY, MISSING, {409: "There is another link to this message"}, ok="The link"),
    ),
    Route(
        method="DELETE",
        path=_SHARE,
        handler=shares.delete_share,
        summary="Delete a link",
        answer=answers.UnsharedSchema(),
        statuses=statuses(MISSING, ok="Deleted"),
    ),
    Route(
        method="POST",
        path=f"{_SHARE}/fork",
        handler=shares.continue_share,
        summary="A copy, of one's own, of what a link shows",
        body=schemas.ContinueSchema(),
        answer=answers.CopySchema(),
        statuses=statuses(
            BODY, MISSING, LIMITED, {409: "It shows something else by now"}, ok="The new conversation", status=201
        ),
        limited=forks,
    ),
]
ROUTES = [*MESSAGES, *TAGS, *SHARES]
