"""Providers that are configured anew while others use them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from marshmallow import RAISE, Schema, fields
from structlog.testing import capture_logs

from backchat.config import Config, OpenProviders, load_config, renewing
from backchat.config.renewing import compared
from backchat.domain.run import TextDelta
from backchat.errors import ConfigError, ProviderError
from backchat.hookspecs import hookimpl
from backchat.plugins import Plugins
from backchat.ports.component import Component
from backchat.ports.providers import Abilities
from backchat.services.catalogue import Catalogue
from backchat.services.embedders import Embedders
from backchat.testing.loading import MINIMAL
from backchat.testing.provider import ScriptedProvider, collect, said
from guarded import HI, Counts


class KeySchema(Schema):
    class Meta:
        unknown = RAISE

    key = fields.String(required=True, metadata={"description": "What it says."})


@dataclass
class Keyed:
    """Offers providers that say the key they were opened with; ``bad`` cannot be opened, ``stuck`` not yet,
    and ``stubborn`` does not let itself be stopped either.

    told  what was opened, closed and broken off, in order
    """

    told: list[str] = field(default_factory=list)
    stuck: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: dict[str, list[object]] = field(default_factory=dict)
    clumsy: bool = False

    @hookimpl
    def backchat_providers(self) -> Any:
        return [Component("keyed", KeySchema(), self.open)]

    @asynccontextmanager
    async def open(self, settings: Mapping[str, str]) -> AsyncIterator[ScriptedProvider]:
        key = settings["key"]
        if key == "bad":
            raise ConfigError("key: is no good")
        if key == "stuck":
            await self.stuck.wait()
        while key == "stubborn" and not self.stuck.is_set():
            with suppress(asyncio.CancelledError):
                await self.stuck.wait()
        self.told.append(f"+{key}")
        self.tasks.setdefault(key, []).append(asyncio.current_task())
        try:
            yield ScriptedProvider(
                [key, " ", "end"],
                name=key,
                model=key,
                listed=[f"{key}-a"],
                abilities=Abilities(instructions=key != "dull"),
            )
        except BaseException:
            self.told.append(f"!{key}")
            raise
        finally:
            self.tasks[key].append(asyncio.current_task())
            self.told.append(f"-{key}")
            if self.clumsy:
                raise OSError("no way")


@dataclass
class Place:
    """An installation: ``read`` is what its server reads when it starts, or reads again."""

    directory: Path
    offered: Keyed
    meter: Counts = field(default_factory=Counts)

    async def read(self, providers: Mapping[str, Any], **sections: Any) -> Config:
        made = {n: p if isinstance(p, dict) else {"use": "keyed", "key": p} for n, p in providers.items()}
        found = {**MINIMAL, "providers": made, **sections}
        return await asyncio.to_thread(self._load, yaml.safe_dump(found, sort_keys=False))

    def _load(self, text: str) -> Config:
        file = self.directory / "backchat.yml"
        file.write_text(text)
        return load_config(file, Plugins([self.offered], from_entry_points=True), data=self.directory)

    @asynccontextmanager
    async def open(self, providers: Mapping[str, Any], **sections: Any) -> AsyncIterator[OpenProviders]:
        async with OpenProviders(await self.read(providers, **sections), self.meter) as opened:
            yield opened

    async def renew(self, opened: OpenProviders, providers: Mapping[str, Any], **sections: Any) -> list[str]:
        return list(await opened.renew(await self.read(providers, **sections)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, Keyed())


async def says(opened: OpenProviders, name: str) -> str:
    return said(await collect(opened.providers.configured[name].provider, HI))


async def test_only_what_has_changed_is_opened_anew(place: Place) -> None:
    async with place.open({"a": "k1", "b": "k2"}) as opened:
        kept = opened.providers
        before = dict(kept.configured)
        assert await place.renew(opened, {"a": "k1", "b": "k2"}) == []
        assert await place.renew(opened, {"a": "k1", "b": "k3"}) == ["providers.b: opened anew"]
        assert opened.providers is kept
        assert kept.configured["a"] is before["a"]
        assert kept.configured["b"] is not before["b"]
        assert [await says(opened, name) for name in ("a", "b")] == ["k1 end", "k3 end"]
        assert said(await collect(before["b"].provider, HI)) == "k3 end", "who kept the old one asks the new one"
        await asyncio.sleep(0)
        assert place.offered.told == ["+k1", "+k2", "+k3", "-k2"]
    assert sorted(place.offered.told[4:]) == ["-k1", "-k3"]
    assert all(began is ended for began, ended in place.offered.tasks.values()), "closed by whom it was opened"


async def test_a_stream_ends_with_what_it_began_with_which_is_closed_then(place: Place) -> None:
    async with place.open({"a": "k1"}) as opened:
        async with aclosing(opened.providers.configured["a"].provider.stream(HI)) as events:
            assert await anext(events) == TextDelta("k1")
            await place.renew(opened, {"a": "k2"})
            assert await says(opened, "a") == "k2 end"
            assert place.offered.told == ["+k1", "+k2"]
            assert said([event async for event in events]) == " end"
        await asyncio.sleep(0)
        assert place.offered.told == ["+k1", "+k2", "-k1"]


async def test_providers_come_and_go_and_come_again(place: Place) -> None:
    async with place.open({"a": "k1", "b": "k2"}, fallback=["b"]) as opened:
        held = opened.providers.configured["b"]
        changes = await place.renew(opened, {"c": "k3", "a": "k1"})
        assert changes == ["providers.c: added", "providers.b: taken out", "default_provider: c", "fallback: none"]
        providers = opened.providers
        assert list(providers.configured) == ["c", "a"]
        assert (providers.choose(None).name, providers.find("b")) == ("c", None)
        assert [c.name for c in providers.candidates(providers.configured["a"])] == ["a"]
        with pytest.raises(ProviderError, match="the provider b is no longer configured"):
            await collect(held.provider, HI)
        await place.renew(opened, {"a": "k1", "b": "k2"})
        assert said(await collect(held.provider, HI)) == "k2 end"
        assert place.offered.told[:5] == ["+k1", "+k2", "+k3", "-k2", "+k2"]


async def test_limits_change_without_opening_anything(place: Place) -> None:
    async with place.open({"a": "k1"}) as opened:
        entry = {"use": "keyed", "key": "k1", "limits": {"at_once": 3}}
        before = opened.providers.configured["a"]
        assert await place.renew(opened, {"a": entry}) == ["providers.a.limits: changed"]
        guard: Any = opened.providers.configured["a"].provider
        assert guard.limits.at_once == 3
        assert opened.providers.configured["a"] is before
        assert place.offered.told == ["+k1"]


async def test_one_that_cannot_be_opened_changes_nothing(place: Place) -> None:
    async with place.open({"a": "k1"}) as opened:
        for wrong, problem in (
            ({"a": "k2", "b": "bad"}, "providers.b: key: is no good"),
            ({"a": "dull"}, "titles.provider: a does not do what it is told, so it makes no titles"),
        ):
            with pytest.raises(ConfigError, match=problem):
                await place.renew(opened, wrong, titles={"provider": "a"})
            assert await says(opened, "a") == "k1 end"
            assert list(opened.providers.configured) == ["a"]
        assert place.offered.told == ["+k1", "+k2", "-k2", "+dull", "-dull"]
        assert await place.renew(opened, {"a": "k2"}) == ["providers.a: opened anew"]
        assert await says(opened, "a") == "k2 end"


async def test_a_reload_that_is_cut_off_changes_nothing(place: Place) -> None:
    async with place.open({"a": "k1"}) as opened:
        renewing = asyncio.create_task(place.renew(opened, {"a": "k2", "b": "stuck"}))
        while place.offered.told != ["+k1", "+k2"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        renewing.cancel()
        await asyncio.wait((renewing,))
        assert renewing.cancelled()
        assert place.offered.told == ["+k1", "+k2", "-k2"]
        assert await says(opened, "a") == "k1 end"


async def test_one_that_does_not_open_holds_up_no_later_reload(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "OPENING", 0.05)
    monkeypatch.setattr(renewing, "CLOSING", 0.05)
    try:
        async with place.open({"a": "k1"}) as opened:
            for key in ("stuck", "stubborn"):
                async with asyncio.timeout(5):
                    with pytest.raises(ConfigError, match=r"providers\.b: it did not open within 0.05 seconds"):
                        await place.renew(opened, {"a": "k2", "b": key})
                assert await says(opened, "a") == "k1 end"
            assert await place.renew(opened, {"a": "k3"}) == ["providers.a: opened anew"]
    finally:
        place.offered.stuck.set()
    async with asyncio.timeout(5):
        while "-stubborn" not in place.offered.told:  # noqa: ASYNC110
            await asyncio.sleep(0)  # it opens after all, and is closed: nobody would use it


async def test_one_that_cannot_be_closed_is_told_and_harms_nobody(place: Place) -> None:
    place.offered.clumsy = True
    with capture_logs() as lines:
        async with place.open({"a": "k1"}) as opened:
            await place.renew(opened, {"a": "k2"})
            assert await says(opened, "a") == "k2 end"
    assert [(line["event"], line["provider"]) for line in lines] == [("provider.not_closed", "a")] * 2


async def test_the_server_that_cannot_open_its_providers_closes_the_others(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"providers\.b: key: is no good"):
        async with place.open({"a": "k1", "b": "bad"}):
            pass
    assert place.offered.told == ["+k1", "-k1"]


async def test_sections_that_are_read_at_the_start_only_are_named(place: Place) -> None:
    async with place.open({"a": "k1"}) as opened:
        same = await place.read({"a": "k2", "b": "k3"}, fallback=["b"], default_provider="b")
        assert opened.unfollowed(same) == []
        other = await place.read(
            {"a": "k1"}, server={"drain": 3}, memory={"use": "window", "size": 3}, dialects=["chat"], tools=["clock"]
        )
        assert opened.unfollowed(other) == ["server", "memory", "tools", "dialects"]
    async with place.open({"a": "k1"}, tools=["clock"]) as opened:
        other = await place.read({"a": "k1"}, tools=[{"use": "clock", "always": True}])
        assert opened.unfollowed(other) == ["tools"]


async def test_every_option_can_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readings of one file that has all options say the same."""
    text = (Path(__file__).parent.parent / "configs" / "full.yml").read_text("utf-8")
    for name in re.findall(r"\$env: (\w+)", text):
        monkeypatch.setenv(name, "a-secret-of-more-than-thirty-two-bytes")
    public = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "jwt-public.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "full.yml").write_text(text)

    def read() -> Config:
        return load_config(tmp_path / "full.yml", Plugins(from_entry_points=True), data=tmp_path)

    first, again = await asyncio.to_thread(read), await asyncio.to_thread(read)
    opened = OpenProviders(first, Counts())
    assert opened.unfollowed(again) == []
    assert {name: compared(s) for name, s in first.providers.items()} == {
        name: compared(s) for name, s in again.providers.items()
    }


async def test_lists_of_models_follow(place: Place) -> None:
    async with place.open({"a": "k1", "b": "k2"}) as opened:
        now = datetime(2030, 1, 1, tzinfo=UTC)
        async with Catalogue(opened.providers, Embedders({}), now=lambda: now) as catalogue:

            async def listed() -> list[str]:
                return [f"{m.provider}/{m.name}" for m in await catalogue.models()]

            assert await listed() == ["a/k1", "a/k1-a", "b/k2", "b/k2-a"]
            await place.renew(opened, {"c": "k4", "a": "k3"})
            assert await listed() == ["c/k4", "c/k4-a", "a/k3", "a/k3-a"]
            assert catalogue.providers() == ("c", "a")
            await place.renew(opened, {"c": "k4", "a": {"use": "keyed", "key": "k3", "limits": {"retries": 0}}})
            asked: Any = opened.providers.configured["c"].provider
            await listed()
            assert asked._service.provider.listings == 1, "what has not changed is not asked again"
