"""The ``openai`` provider against LiteLLM's proxy. ``python peers/run.py`` starts the proxy and runs this."""

from __future__ import annotations

from faces import CHAT
from litellm_suite import FaceContract, FaceSuite


class TestFace(FaceSuite):
    face = CHAT


class TestContract(FaceContract):
    face = CHAT
