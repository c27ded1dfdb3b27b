"""What happens when a database is opened: is it one that we can use, and has it what the kinds need?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pymongo
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

from backchat.errors import ConfigError
from backchat_mongo.drivers import Connection
from backchat_mongo.failures import REFUSED, codes, translation
from backchat_mongo.indexing import Indexes
from backchat_mongo.layout import Layout
from backchat_mongo.shapes import Shapes

PATIENCE = 15.0
"""Seconds for the first answer. An election of a new primary takes up to 12."""
_WIRE = 13
"""The wire version of MongoDB 5.0: the first with reads of one moment, and with the Stable API."""
_STANDALONE = (
    "the server is a standalone one, which has no transactions; make it a replica set of one: start it with "
    '`mongod --replSet rs0 ...`, then run `mongosh --eval \'rs.initiate({{_id: "rs0", members: '
    '[{{_id: 0, host: "{host}"}}]}})\'` once'
)


async def prepare(connection: Connection, layouts: Mapping[str, Layout]) -> None:
    """Make what is missing in the database. Raises ConfigError if it cannot be used.

    Several processes may do this at the same time. Collections and indexes of others are left alone.
    """
    try:
        check_server(await _hello(connection), connection.seed)
        shapes = await Shapes.read(connection, layouts)
        indexes = await Indexes.compare(connection, layouts)
        await shapes.renew()
        await indexes.make()
    except PyMongoError as error:
        if codes(error) & REFUSED:
            raise ConfigError(
                f"the user of the url may not use the database {connection.database.name!r}: it needs the role "
                "readWrite on it"
            ) from None
        raise ConfigError(str(translation(error))) from None


async def _hello(connection: Connection) -> Mapping[str, Any]:
    """What the primary, or a router, says of itself: the first that is asked, so everything may be wrong."""
    patience = min(connection.timeout, PATIENCE)
    try:
        with pymongo.timeout(patience):
            answer: Mapping[str, Any] = await connection.client.admin.command("hello")
            return answer
    except OperationFailure as error:
        if codes(error) & REFUSED:
            raise ConfigError("the server does not accept the user name and the password of the url") from None
        raise ConfigError(f"the server is of no use: {translation(error)}") from None
    except ConfigurationError as error:  # an option of the URL, or a server too old for the driver
        raise ConfigError(f"the driver cannot work with this url or this server ({type(error).__name__})") from None
    except ConnectionFailure:
        raise ConfigError(
            f"nothing that can be written to answers at the url within {patience:g} seconds: no server is there, its "
            "replica set is another one than the url says, it has no primary, or `rs.initiate({...})` was never run"
        ) from None


def check_server(hello: Mapping[str, Any], seed: str) -> None:
    """Raise ConfigError unless the server that says this has what we need. ``seed``: where it is, by the url."""
    if hello.get("maxWireVersion", 0) < _WIRE:
        raise ConfigError("the server is older than MongoDB 5.0, which is the oldest that can be used")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise ConfigError(_STANDALONE.format(host=seed))
