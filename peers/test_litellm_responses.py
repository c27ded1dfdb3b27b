"""The ``openai`` provider with ``api: responses`` against LiteLLM's proxy."""

from __future__ import annotations

from faces import RESPONSES
from litellm_suite import FaceContract, FaceSuite


class TestFace(FaceSuite):
    face = RESPONSES
    opening = 2200


class TestContract(FaceContract):
    face = RESPONSES
