"""llama.cpp's own server over a model file: ``python server.py FILE PORT``. The key is in the environment."""

from __future__ import annotations

import os
import sys
import threading

import xllamacpp


def main(path: str, port: int) -> None:
    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.model_alias = {"noise"}
    settings.hostnames = ["127.0.0.1"]
    settings.port = port
    settings.api_keys = [os.environ["BACKCHAT_PEER_KEY"]]
    settings.n_ctx, settings.n_parallel = 4 * 16384, 4
    settings.endpoint_slots = True
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1  # several wait for each other longer
    settings.use_jinja, settings.warmup = True, False
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
