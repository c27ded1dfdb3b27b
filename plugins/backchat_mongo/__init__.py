"""MongoDB: the record store on a replica set or a sharded cluster."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.storage import StorageBackend
from backchat_mongo.component import MONGO


@hookimpl
def backchat_storages() -> Sequence[StorageBackend]:
    return [MONGO]
