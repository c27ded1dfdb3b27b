"""The dialect ``plain``: say something in the body, get the answer as text; errors are text too."""

from aiohttp import web

from backchat import hookimpl
from backchat.services.saying import Say
from backchat.web.body import read_bytes
from backchat.web.dialect import Dialect, Route


async def say(call):
    text = (await read_bytes(call.request)).decode("utf-8", "replace")
    run = await call.services.turns.say(call.who, Say(text=text, channel="plain"))
    _, answer = await call.services.runs.result(call.who, run.id)
    return web.Response(text=answer.text if answer else "")


def render_error(problem, request):
    return web.Response(text=problem.message, status=problem.status)


@hookimpl
def backchat_dialects():
    route = Route(method="POST", path="/say", handler=say, summary="Say something; the answer is plain text")
    return [Dialect(name="plain", mount="/plain", routes=[route], render_error=render_error)]
