"""The services of one app, as every dialect sees them."""

from __future__ import annotations

from dataclasses import dataclass

from backchat.services.accounts import Accounts
from backchat.services.conversations import Conversations
from backchat.services.providers import Providers
from backchat.services.runs import Runs
from backchat.services.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    accounts: Accounts
    conversations: Conversations
    runs: Runs
    turns: Turns
    providers: Providers
