"""The learner ``recall``: facts about the user, found by the model, or by a rule where the model follows none."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.learning import LearnerBackend
from backchat_recall.learner import SettingsSchema, open_recall


@hookimpl
def backchat_learners() -> Sequence[LearnerBackend]:
    return [Component("recall", SettingsSchema(), open_recall)]
