"""What every authenticator must keep."""

from __future__ import annotations

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import pytest

from backchat.domain.identity import Identity
from backchat.errors import InvalidCredentials
from backchat.ports.auth import Authenticator, Credentials

SCHEMES = ("bearer", "jwt", "x-api-key", "query")
FOREIGN = ("x", "token", "sk-proj-0123456789abcdef", "ghp_0123456789abcdef", "Basic YW5uOnB3", "0", "null", "a b")
HOSTILE = (
    "",
    " ",
    "\x00",
    "\r\nX-Admin: yes",
    "\ud800",
    "\u202e\u0000\U0001f511",
    "'; DROP TABLE user; --",
    "../../etc/passwd",
    "{}",
    "." * 5000,
    "_" * 5000,
    "A" * 1_000_000,
)


class AuthenticatorContract(ABC):
    """Subclass it, provide the fixtures, and pytest runs what every authenticator must keep.

    authenticator  the opened authenticator under test
    good           tokens it must know, each with whose it is; at least one
    bad            tokens of its kind that it must refuse: forged, expired, revoked, malformed; at least one
    Override ``foreign`` if one of these tokens would be of its kind, and ``words`` if it says why it refuses a token:
    all that it may say. It then takes care that a forged token is told nothing that is of use.
    """

    foreign: Sequence[str] = FOREIGN
    words: Sequence[str] = ()

    @pytest.fixture
    @abstractmethod
    def authenticator(self) -> object: ...

    @pytest.fixture
    @abstractmethod
    def good(self) -> object: ...

    @pytest.fixture
    @abstractmethod
    def bad(self) -> object: ...

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_a_foreign_token_is_left_to_the_next(self, authenticator: Authenticator, scheme: str) -> None:
        for token in self.foreign:
            assert await authenticator.identify(Credentials(scheme, token)) is None

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_a_good_token_says_whose_it_is(
        self, authenticator: Authenticator, good: Sequence[tuple[str, Identity]], scheme: str
    ) -> None:
        assert good
        for _ in range(2):  # what is remembered says the same
            for token, who in good:
                assert await authenticator.identify(Credentials(scheme, token)) == who

    async def test_a_bad_token_is_refused_each_time(self, authenticator: Authenticator, bad: Sequence[str]) -> None:
        assert bad
        for _ in range(2):
            for token in bad:
                with pytest.raises(InvalidCredentials):
                    await authenticator.identify(Credentials("bearer", token))

    async def test_all_are_refused_in_the_same_words(self, authenticator: Authenticator, bad: Sequence[str]) -> None:
        said = {str(error) for error in [await _refusal(authenticator, token) for token in bad]}
        assert said <= set(self.words) if self.words else len(said) == 1

    async def test_no_token_shows(
        self, authenticator: Authenticator, good: Sequence[tuple[str, Identity]], bad: Sequence[str]
    ) -> None:
        for token, who in good:
            await authenticator.identify(Credentials("bearer", token))
            assert token not in repr(authenticator)
            assert token not in repr(who)
        for token in bad:
            told = "".join(_everything_told(await _refusal(authenticator, token)))
            for part in (token, *token.split("."), *token.split("_")):
                assert len(part) < 12 or part not in told

    async def test_a_changed_token_is_nobodys(
        self, authenticator: Authenticator, good: Sequence[tuple[str, Identity]]
    ) -> None:
        for token, _ in good:
            assert await authenticator.identify(Credentials("bearer", token))
            for changed in _changed(token):
                assert await _answer(authenticator, changed) is None

    async def test_any_text_gets_an_answer(
        self, authenticator: Authenticator, good: Sequence[tuple[str, Identity]]
    ) -> None:
        token = good[0][0]
        for hostile in HOSTILE:
            for text in (hostile, token + hostile + "x", "x" + hostile + token, token[:9] + hostile + token[9:]):
                if text != token:
                    assert await _answer(authenticator, text) is None

    async def test_many_at_once_get_their_own_answers(
        self, authenticator: Authenticator, good: Sequence[tuple[str, Identity]], bad: Sequence[str]
    ) -> None:
        expected = [*good, *[(token, None) for token in bad]] * 20
        answers = await asyncio.gather(*[_answer(authenticator, token) for token, _ in expected])
        assert answers == [who for _, who in expected]


async def _answer(authenticator: Authenticator, token: str) -> Identity | None:
    """Whose it is; None when it is nobody's, by either answer. Any other exception fails the test."""
    try:
        return await authenticator.identify(Credentials("bearer", token))
    except InvalidCredentials:
        return None


async def _refusal(authenticator: Authenticator, token: str) -> InvalidCredentials:
    with pytest.raises(InvalidCredentials) as caught:
        await authenticator.identify(Credentials("bearer", token))
    return caught.value


def _everything_told(error: BaseException | None) -> Iterator[str]:
    """The words of an error, of what caused it, and of its traceback."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), *traceback.format_exception(error))
        error = error.__cause__ or error.__context__


def _changed(token: str) -> Iterator[str]:
    """One character changed, removed or doubled; parts cut off. Changes of base64's unused last bits are not made."""
    for n, old in enumerate(token):
        yield token[:n] + ("Q" if "A" <= old <= "P" else "A") + token[n + 1 :]
    for cut in (1, len(token) // 2, len(token) - 4):
        yield token[:cut]
        yield token[cut:]
    yield from (token + "A", token + "=", token + "\n", " " + token, token.swapcase(), token * 2)
