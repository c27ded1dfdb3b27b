"""The provider ``greeter``: it greets, and repeats what it was told."""

from contextlib import asynccontextmanager

from marshmallow import RAISE, Schema, fields

from backchat import hookimpl
from backchat.domain.message import Text
from backchat.domain.run import TextDelta
from backchat.ports.component import Component
from backchat.ports.providers import Abilities, Finish


class Greeter:
    model = "greeter-1"
    abilities = Abilities(vision=False, tools=False, reasoning=False)

    def __init__(self, greeting):
        self.greeting = greeting

    async def stream(self, request):
        yield TextDelta(f"{self.greeting}! You said: ")
        for part in request.messages[-1].parts:
            if isinstance(part, Text):
                yield TextDelta(part.text)
        yield Finish("stop")

    async def models(self):
        return [self.model]


@asynccontextmanager
async def open_greeter(settings):
    yield Greeter(settings["greeting"])


GREETING = fields.String(load_default="Hello", metadata={"description": "What every reply begins with."})
SETTINGS = Schema.from_dict({"greeting": GREETING})(unknown=RAISE)


@hookimpl
def backchat_providers():
    return [Component("greeter", SETTINGS, open_greeter)]
