"""Every authenticator keeps the contract of the port; what is peculiar to API keys, to sessions and to JWTs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from marshmallow import ValidationError

from backchat.domain.identity import ApiKey, Identity
from backchat.domain.limits import SessionTimes
from backchat.errors import InvalidCredentials
from backchat.ports.auth import Credentials
from backchat.services.access_tokens import KEY_ID
from backchat.services.account_records import API_KEY, USER
from backchat.services.accounts import Accounts, Role
from backchat.services.passwords import Passwords
from backchat.services.session_records import SESSION, SIGNING
from backchat.services.sessions import Sessions
from backchat.services.vault_records import KEYRING
from backchat.testing.auth import AuthenticatorContract
from backchat.testing.memory_store import MemoryStore
from backchat_apikey.authenticator import ApiKeyAuthenticator, open_apikey
from backchat_apikey.authenticator import SettingsSchema as ApiKeySettings
from backchat_jwt.authenticator import REMEMBERED, JwtAuthenticator, open_jwt
from backchat_jwt.settings import SettingsSchema as JwtSettings
from backchat_session.authenticator import SessionAuthenticator, open_session
from backchat_session.authenticator import SettingsSchema as SessionSettings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = NOON.timestamp()
SECRET = "correct horse battery staple, and a few more words for HS512 here"
Claims = Mapping[str, Any]
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore([USER, API_KEY, SESSION, SIGNING, KEYRING])


@pytest.fixture
def accounts(store: MemoryStore, clock: Clock) -> Accounts:
    ids = (f"id-{n}" for n in count())
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return Accounts(store, now=clock, new_id=lambda: next(ids), passwords=quick)


@pytest.fixture
def keys(store: MemoryStore, accounts: Accounts, clock: Clock) -> Sessions:
    ids = (f"session-{n}" for n in count())
    return Sessions(store, accounts, SessionTimes(), now=clock, new_id=lambda: next(ids))


def bearer(token: str) -> Credentials:
    return Credentials("bearer", token)


def b64(data: bytes | str) -> str:
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).decode().rstrip("=")


def b64json(value: object) -> str:
    return b64(json.dumps(value))


# API keys


class TestApiKey(AuthenticatorContract):
    @pytest.fixture
    async def authenticator(self, keys: Sessions, clock: Clock) -> AsyncIterator[ApiKeyAuthenticator]:
        async with open_apikey(ApiKeySettings().load({}), keys, now=clock) as authenticator:
            yield authenticator

    @pytest.fixture
    async def good(self, accounts: Accounts, clock: Clock) -> Sequence[tuple[str, Identity]]:
        ann = await accounts.ensure_user("Ann")
        plain, token = await accounts.create_key(ann, "laptop")
        limited, limited_token = await accounts.create_key(
            ann, "bot", platform="chat-bot", scopes=["chat", "vault"], expires=clock() + timedelta(days=1)
        )
        return [
            (token, Identity(user=ann.id, name="Ann", key=plain.id)),
            (
                limited_token,
                Identity(
                    user=ann.id, name="Ann", key=limited.id, platform="chat-bot", scopes=frozenset({"chat", "vault"})
                ),
            ),
        ]

    @pytest.fixture
    async def bad(self, accounts: Accounts, clock: Clock) -> Sequence[str]:
        bob = await accounts.ensure_user("Bob")
        key, token = await accounts.create_key(bob, "right")
        other, other_token = await accounts.create_key(bob, "other")
        revoked, revoked_token = await accounts.create_key(bob, "revoked")
        await accounts.revoke_key(revoked.id)
        _, expired_token = await accounts.create_key(bob, "expired", expires=clock() + timedelta(seconds=1))
        clock.time += timedelta(seconds=1)
        secret, other_secret = token.rpartition("_")[2], other_token.rpartition("_")[2]
        return [
            revoked_token,
            expired_token,
            f"bsk_{key.id}_{other_secret}",
            f"bsk_{other.id}_{secret}",
            f"bsk_{key.id}_{secret[:-1]}",
            f"bsk_{key.id}_{key.digest}",
            f"bsk_{key.id}_",
            f"bsk_{key.id}",
            f"bsk__{secret}",
            "bsk_",
            f"bsk_nobodys_{secret}",
            f"bsk_{key.id}_{secret}\n",
            f"bsk_{key.id}_{secret} ",
            f"bsk_{key.id}\x00_{secret}",
            f"bsk_{key.id}_{secret}_{secret}",
            f"bsk_{'٣' * 8}_{secret}",
            f"bsk_{key.id}_{'é' * 43}",
            "bsk_\ud800_x",
            "bsk_" + "a" * 100_000,
        ]


@pytest.fixture
async def keyring(keys: Sessions, clock: Clock) -> AsyncIterator[ApiKeyAuthenticator]:
    async with open_apikey(ApiKeySettings().load({}), keys, now=clock) as authenticator:
        yield authenticator


async def test_a_revoked_key_ends_with_the_next_request(keyring: ApiKeyAuthenticator, accounts: Accounts) -> None:
    key, token = await accounts.create_key(await accounts.ensure_user("ann"), "laptop")
    assert await keyring.identify(bearer(token))
    await accounts.revoke_key(key.id)
    with pytest.raises(InvalidCredentials):
        await keyring.identify(bearer(token))


async def test_a_key_ends_at_its_time_of_expiry(keyring: ApiKeyAuthenticator, accounts: Accounts, clock: Clock) -> None:
    _, token = await accounts.create_key(
        await accounts.ensure_user("ann"), "laptop", expires=clock() + timedelta(hours=1)
    )
    clock.time += timedelta(minutes=59, seconds=59)
    assert await keyring.identify(bearer(token))
    clock.time += timedelta(seconds=1)
    with pytest.raises(InvalidCredentials):
        await keyring.identify(bearer(token))


async def test_an_unknown_key_is_compared_like_a_known_one(
    keyring: ApiKeyAuthenticator, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []
    honest = hmac.compare_digest

    def watched(a: str, b: str) -> bool:
        compared.append((a, b))
        return honest(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    key, token = await accounts.create_key(await accounts.ensure_user("ann"), "laptop")
    secret = token.rpartition("_")[2]
    assert await keyring.identify(bearer(token))
    with pytest.raises(InvalidCredentials):
        await keyring.identify(bearer(f"bsk_nobodys_{secret}"))
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert compared == [(digest, key.digest), (digest, "0" * 64)]


async def test_a_key_is_read_once_for_each_request(accounts: Accounts, clock: Clock) -> None:
    key, token = await accounts.create_key(await accounts.ensure_user("ann"), "laptop")
    asked: list[str] = []

    class Counted:
        async def api_key(self, id: str) -> ApiKey | None:
            asked.append(id)
            return await accounts.api_key(id)

        async def session(self, token: str) -> Identity | None:
            raise AssertionError("a key is no session")

    async with open_apikey(ApiKeySettings().load({}), Counted(), now=clock) as authenticator:
        await authenticator.identify(bearer(token))
        await authenticator.identify(bearer(token))
    assert asked == [key.id, key.id]


# Sessions; see also test_sessions.py


class TestSession(AuthenticatorContract):
    words = ("invalid signature", "jwt expired", "jwt malformed", "Unauthorized")

    @pytest.fixture
    async def authenticator(self, keys: Sessions) -> AsyncIterator[SessionAuthenticator]:
        async with open_session(SessionSettings().load({}), keys) as authenticator:
            yield authenticator

    @pytest.fixture
    async def good(self, accounts: Accounts, keys: Sessions) -> Sequence[tuple[str, Identity]]:
        return [
            (await token_of(accounts, keys, "Ann"), Identity(user="id-0", name="Ann")),
            (await token_of(accounts, keys, "Root", "admin"), Identity(user="id-1", name="Root", role="admin")),
        ]

    @pytest.fixture
    async def bad(self, accounts: Accounts, keys: Sessions, clock: Clock) -> Sequence[str]:
        clock.time -= timedelta(minutes=15)
        expired = await token_of(accounts, keys, "Bob")
        clock.time += timedelta(minutes=15)
        ended, token = await token_of(accounts, keys, "Cid"), await token_of(accounts, keys, "Eve", "admin")
        await keys.log_out(None, ended)
        head, body, signature = token.split(".")
        kid = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
        return [
            expired,
            ended,
            f"{head}.{body}.{ended.rpartition('.')[2]}",
            f"{head}.{ended.split('.')[1]}.{signature}",
            f"{head}.{body}.",
            f"{head}.{body}.{signature}=",
            f"{head}.{b64('[]')}.{signature}",
            f"{b64json({'alg': 'none', 'kid': kid})}.{body}.",
            f"{b64json({'alg': 'none', 'kid': kid})}.{body}.{signature}",
        ]


async def token_of(accounts: Accounts, keys: Sessions, name: str, role: Role = "user") -> str:
    await accounts.create_user(name, password="twelve words", role=role)
    login = await keys.log_in(name, "twelve words")
    assert login is not None
    return login.access


async def test_sessions_leave_the_tokens_of_other_services_to_others(keys: Sessions) -> None:
    others = [
        hs256(claims()),
        hs256(claims(iss="backchat")),
        hs256(claims(iss="elsewhere"), {"kid": KEY_ID}),
        hs256(claims(), {"kid": KEY_ID}),
        f"{HEAD}.{BODY}.",
        "a.b.c",
        "..",
        f"{b64('[]')}.{BODY}.{SIGNATURE}",
        f"{b64('[' * 3000)}.{BODY}.{SIGNATURE}",
    ]
    async with open_session(SessionSettings().load({}), keys) as authenticator:
        for token in others:
            assert await authenticator.identify(bearer(token)) is None


# JWT


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


RSA_KEY = rsa_key()
P256_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Private) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def claims(**more: Any) -> dict[str, Any]:
    """Good claims, with some replaced; None leaves one out."""
    given = {"sub": "user-1", "username": "ann", "role": "user", "iat": NOW - 60, "exp": NOW + 600, **more}
    return {k: v for k, v in given.items() if v is not None}


def hs256(payload: object, header: Mapping[str, Any] | None = None, key: str | bytes = SECRET) -> str:
    """A token with a right signature over whatever is given, made without the library under test."""
    first = b64json({"alg": "HS256", "typ": "JWT", **(header or {})})
    second = b64(payload) if isinstance(payload, bytes | str) else b64json(payload)
    secret = key.encode() if isinstance(key, str) else key
    return f"{first}.{second}.{b64(hmac.digest(secret, f'{first}.{second}'.encode(), 'sha256'))}"


def signed(key: Private, algorithm: str, payload: Claims) -> str:
    return jwt.encode(dict(payload), key, algorithm)


class JwtContract(AuthenticatorContract):
    section: Mapping[str, Any]

    @staticmethod
    def sign(payload: Claims) -> str:
        raise NotImplementedError

    @staticmethod
    def forge(payload: Claims) -> str:
        """Signed by somebody else."""
        raise NotImplementedError

    @pytest.fixture
    async def authenticator(self, keys: Sessions, clock: Clock) -> AsyncIterator[JwtAuthenticator]:
        async with open_jwt(JwtSettings().load(dict(self.section)), keys, now=clock.seconds) as authenticator:
            yield authenticator

    @pytest.fixture
    def good(self) -> Sequence[tuple[str, Identity]]:
        return [
            (self.sign(claims()), Identity(user="user-1", name="ann")),
            (
                self.sign(claims(username=None, name="Ann B.", role="admin")),
                Identity(user="user-1", name="Ann B.", role="admin"),
            ),
            (self.sign({"sub": "é:1", "exp": NOW + 1}), Identity(user="é:1")),
        ]

    @pytest.fixture
    def bad(self) -> Sequence[str]:
        token = self.sign(claims())
        head, body, signature = token.split(".")
        admin = b64json(claims(role="admin"))
        return [
            self.forge(claims()),
            self.sign(claims(exp=NOW - 6)),
            self.sign(claims(sub=None)),
            self.sign(claims(exp=None)),
            f"{head}.{admin}.{signature}",
            f"{head}.{body}.",
            f"{b64json({'alg': 'none'})}.{body}.",
            f"{b64json({'alg': 'none'})}.{admin}.{signature}",
        ]


class TestHs256(JwtContract):
    section = {"secret": SECRET}  # noqa: RUF012

    @staticmethod
    def sign(payload: Claims) -> str:
        return hs256(payload)

    @staticmethod
    def forge(payload: Claims) -> str:
        return hs256(payload, key=SECRET + "!")


class TestRs256(JwtContract):
    section = {"public_key": public_pem(RSA_KEY)}  # noqa: RUF012
    stranger = rsa_key()

    @staticmethod
    def sign(payload: Claims) -> str:
        return signed(RSA_KEY, "RS256", payload)

    @classmethod
    def forge(cls, payload: Claims) -> str:
        return signed(cls.stranger, "RS256", payload)


class TestEs256(JwtContract):
    section = {"public_key": public_pem(P256_KEY), "algorithms": ["ES256"]}  # noqa: RUF012

    @staticmethod
    def sign(payload: Claims) -> str:
        return signed(P256_KEY, "ES256", payload)

    @staticmethod
    def forge(payload: Claims) -> str:
        return signed(ec.generate_private_key(ec.SECP256R1()), "ES256", payload)


class TestEdDsa(JwtContract):
    section = {"public_key": public_pem(ED_KEY)}  # noqa: RUF012

    @staticmethod
    def sign(payload: Claims) -> str:
        return signed(ED_KEY, "EdDSA", payload)

    @staticmethod
    def forge(payload: Claims) -> str:
        return signed(ed25519.Ed25519PrivateKey.generate(), "EdDSA", payload)


JWK = {"kty": "oct", "k": b64("attacker's key, long enough to count")}
ATTACKER = "attacker's key, long enough to count"
DEEP = "[" * 2500 + "]" * 2500


def unsigned(header: object, payload: object, signature: str = "") -> str:
    return f"{b64json(header)}.{b64json(payload)}.{signature}"


def es256_as_der() -> str:
    first, second = b64json({"alg": "ES256"}), b64json(claims())
    from cryptography.hazmat.primitives.hashes import SHA256

    return f"{first}.{second}.{b64(P256_KEY.sign(f'{first}.{second}'.encode(), ec.ECDSA(SHA256())))}"


GOOD = hs256(claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")

FORGED = {
    "alg none": unsigned({"alg": "none"}, claims()),
    "alg None": unsigned({"alg": "None"}, claims()),
    "alg NONE": unsigned({"alg": "NONE"}, claims()),
    "alg nOnE": unsigned({"alg": "nOnE"}, claims(), "AA"),
    "alg none with a signature": unsigned({"alg": "none"}, claims(), SIGNATURE),
    "alg empty": hs256(claims(), {"alg": ""}),
    "alg null": hs256(claims(), {"alg": None}),
    "alg missing": unsigned({"typ": "JWT"}, claims(), SIGNATURE),
    "alg a list": hs256(claims(), {"alg": ["HS256"]}),
    "alg a mapping": hs256(claims(), {"alg": {"HS256": 1}}),
    "alg in small letters": hs256(claims(), {"alg": "hs256"}),
    "alg HS512 over an HS256 signature": hs256(claims(), {"alg": "HS512"}),
    "HS512, which is not pinned": jwt.encode(claims(), SECRET, "HS512"),
    "RS256 signed by a stranger": signed(RSA_KEY, "RS256", claims()),
    "wrong key": hs256(claims(), key="another secret that is long enough, too"),
    "empty key": hs256(claims(), key=b""),
    "key of zeros": hs256(claims(), key=b"\x00" * 32),
    "payload exchanged": f"{HEAD}.{b64json(claims(sub='root', role='admin'))}.{SIGNATURE}",
    "header exchanged": f"{b64json({'alg': 'HS256', 'kid': 'x'})}.{BODY}.{SIGNATURE}",
    "no signature": f"{HEAD}.{BODY}.",
    "no payload": f"{HEAD}..{SIGNATURE}",
    "no header": f".{BODY}.{SIGNATURE}",
    "two dots only": "..",
    "truncated signature": GOOD[:-6],
    "truncated payload": f"{HEAD}.{BODY[:-6]}.{SIGNATURE}",
    "bad base64 in the header": f"%%%.{BODY}.{SIGNATURE}",
    "bad base64 in the payload": f"{HEAD}.a.{SIGNATURE}",
    "bad base64 in the signature": f"{HEAD}.{BODY}.{SIGNATURE[:-3]}!!!",
    "junk inside the signature": f"{HEAD}.{BODY}.{SIGNATURE[:9]}*{SIGNATURE[9:]}",
    "padding": f"{HEAD}.{BODY}.{SIGNATURE}=",
    "line break": f"{HEAD}.{BODY}.{SIGNATURE}\n",
    "space": f"{HEAD} .{BODY}.{SIGNATURE}",
    "NUL": f"{HEAD}.{BODY}.{SIGNATURE}\x00",
    "unicode": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}é",
    "half a character": f"{HEAD}.{BODY}.\ud800",
    "full-width letters": f"{HEAD}.{BODY}.{chr(0xFF21) * 43}",
    "header is not JSON": f"{b64('hello')}.{BODY}.{SIGNATURE}",
    "header is a list": f"{b64json(['HS256'])}.{BODY}.{SIGNATURE}",
    "header is not UTF-8": f"{b64(bytes([255, 254]))}.{BODY}.{SIGNATURE}",
    "header nested too deeply": f"{b64(DEEP)}.{BODY}.{SIGNATURE}",
    "payload is not JSON": hs256("hello"),
    "payload is a list": hs256([claims()]),
    "payload is a text": hs256('"user-1"'),
    "payload is not UTF-8": hs256(b"\xff\xfe"),
    "payload nested too deeply": hs256('{"sub":' + DEEP + "}"),
    "expired": hs256(claims(exp=NOW - 5)),
    "expired long ago": hs256(claims(exp=1)),
    "exp missing": hs256(claims(exp=None)),
    "exp null": hs256({**claims(), "exp": None}),
    "exp a text": hs256(claims(exp=str(NOW + 600))),
    "exp true": hs256(claims(exp=True)),
    "exp a list": hs256(claims(exp=[NOW + 600])),
    "exp infinite": hs256('{"sub":"user-1","exp":1e999}'),
    "exp not a number": hs256('{"sub":"user-1","exp":NaN}'),
    "exp beyond counting": hs256('{"sub":"user-1","exp":1' + "0" * 400 + "}"),
    "exp negative": hs256(claims(exp=-1)),
    "not yet valid": hs256(claims(nbf=NOW + 6)),
    "nbf true": hs256(claims(nbf=True)),
    "iat true": hs256(claims(iat=True)),
    "nbf a text": hs256(claims(nbf="0")),
    "issued in the future": hs256(claims(iat=NOW + 6)),
    "iat a text": hs256(claims(iat="yesterday")),
    "sub missing": hs256(claims(sub=None)),
    "sub null": hs256({**claims(), "sub": None}),
    "sub a number": hs256(claims(sub=1)),
    "sub a list": hs256(claims(sub=["user-1"])),
    "sub a mapping": hs256(claims(sub={"$ne": ""})),
    "sub true": hs256(claims(sub=True)),
    "sub empty": hs256(claims(sub="")),
    "sub too long": hs256(claims(sub="u" * 256)),
    "sub with NUL": hs256(claims(sub="user-1\x00")),
    "sub with a line break": hs256(claims(sub="user\n1")),
    "sub with half a character": hs256('{"sub":"\\ud800","exp":9999999999}'),
    "an audience where none is expected": hs256(claims(aud="another-service")),
    "embedded jwk": hs256(claims(), {"jwk": JWK}, ATTACKER),
    "jku": hs256(claims(), {"jku": "https://attacker.example/keys.json"}, ATTACKER),
    "x5u": hs256(claims(), {"x5u": "https://attacker.example/cert.pem"}, ATTACKER),
    "x5c": hs256(claims(), {"x5c": [b64("certificate")]}, ATTACKER),
    "kid that points at a file": hs256(claims(), {"kid": "../../../../dev/null"}, b""),
    "kid with SQL": hs256(claims(), {"kid": "x' UNION SELECT 'key"}, "key"),
    "kid a number": hs256(claims(), {"kid": 1}, ATTACKER),
    "crit": hs256(claims(), {"crit": ["exp"], "exp": 1}),
    "crit of something unknown": hs256(claims(), {"crit": ["http://example.org/x"], "http://example.org/x": True}),
    "crit empty": hs256(claims(), {"crit": []}),
    "payload not encoded": hs256(claims(), {"b64": False, "crit": ["b64"]}),
    "huge": hs256(claims(filler="x" * 9000)),
    "a huge signature": f"{HEAD}.{BODY}.{'A' * 1_000_000}",
}  # fmt: skip


@pytest.fixture
def jwt_with(clock: Clock) -> Callable[..., JwtAuthenticator]:
    def make(**section: Any) -> JwtAuthenticator:
        return JwtAuthenticator(JwtSettings().load(section), clock.seconds)

    return make


MakeJwt = Callable[..., JwtAuthenticator]


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
async def test_forged_or_broken(jwt_with: MakeJwt, token: str) -> None:
    hs = jwt_with(secret=SECRET)
    assert await hs.identify(bearer(GOOD)), "the token that the forgeries are made from must be good"
    with pytest.raises(InvalidCredentials):
        await hs.identify(bearer(token))


@pytest.mark.parametrize("key", [public_pem(RSA_KEY), public_pem(RSA_KEY).strip(), public_pem(RSA_KEY).encode()])
async def test_a_public_key_is_no_secret(jwt_with: MakeJwt, key: str | bytes) -> None:
    """The classic confusion: HS256 with the text of the RSA key, which everybody has."""
    rs = jwt_with(public_key=public_pem(RSA_KEY))
    assert await rs.identify(bearer(signed(RSA_KEY, "RS256", claims())))
    for algorithm in ("HS256", "RS256"):
        with pytest.raises(InvalidCredentials):
            await rs.identify(bearer(hs256(claims(), {"alg": algorithm}, key)))


async def test_another_algorithm_of_the_same_key_is_refused(jwt_with: MakeJwt) -> None:
    token = signed(RSA_KEY, "PS256", claims())
    with pytest.raises(InvalidCredentials):
        await jwt_with(public_key=public_pem(RSA_KEY)).identify(bearer(token))
    assert await jwt_with(public_key=public_pem(RSA_KEY), algorithms=["RS256", "PS256"]).identify(bearer(token))


async def test_an_elliptic_signature_has_one_form(jwt_with: MakeJwt) -> None:
    es = jwt_with(public_key=public_pem(P256_KEY))
    assert await es.identify(bearer(signed(P256_KEY, "ES256", claims())))
    for token in (es256_as_der(), f"{b64json({'alg': 'ES256'})}.{BODY}.{b64(bytes(64))}"):
        with pytest.raises(InvalidCredentials):
            await es.identify(bearer(token))


@pytest.mark.parametrize("token", [f"{GOOD}.", f".{GOOD}", f"{GOOD}.{SIGNATURE}", f"{GOOD}..", HEAD, f"{HEAD}.{BODY}"])
async def test_another_number_of_dots_is_no_jwt(jwt_with: MakeJwt, token: str) -> None:
    assert await jwt_with(secret=SECRET).identify(bearer(token)) is None


@pytest.mark.parametrize(
    ("setting", "claim", "right", "wrong"),
    [
        (
            "audience",
            "aud",
            ["backchat", ["other", "backchat"]],
            [None, "other", ["other"], [], 1, "BACKCHAT", "backchat "],
        ),
        ("issuer", "iss", ["backchat"], [None, "other", "", ["backchat"], 1, "backcha", "backchat/"]),
    ],
)
async def test_audience_and_issuer(
    jwt_with: MakeJwt, setting: str, claim: str, right: Sequence[Any], wrong: Sequence[Any]
) -> None:
    for section in ({setting: "backchat"}, {setting: ["first", "backchat"]}):
        authenticator = jwt_with(secret=SECRET, **section)
        for value in right:
            assert await authenticator.identify(bearer(hs256(claims(**{claim: value}))))
        for value in wrong:
            with pytest.raises(InvalidCredentials):
                await authenticator.identify(bearer(hs256(claims(**{claim: value}))))


async def test_leeway_is_for_clocks_that_differ(jwt_with: MakeJwt) -> None:
    strict, lenient = jwt_with(secret=SECRET, leeway=0), jwt_with(secret=SECRET, leeway=30)
    for more in ({"exp": NOW - 29}, {"nbf": NOW + 30}, {"iat": NOW + 30}):
        token = hs256(claims(**more))
        assert await lenient.identify(bearer(token))
        with pytest.raises(InvalidCredentials):
            await strict.identify(bearer(token))


async def test_a_remembered_token_still_expires(jwt_with: MakeJwt, clock: Clock) -> None:
    authenticator = jwt_with(secret=SECRET, leeway=0)
    token = hs256(claims(exp=NOW + 60))
    clock.time += timedelta(seconds=59)
    assert await authenticator.identify(bearer(token))
    clock.time += timedelta(seconds=1)
    with pytest.raises(InvalidCredentials):
        await authenticator.identify(bearer(token))


async def test_what_is_remembered_is_bounded_and_holds_no_token(jwt_with: MakeJwt) -> None:
    authenticator = jwt_with(secret=SECRET)
    for n in range(REMEMBERED + 10):
        assert await authenticator.identify(bearer(hs256(claims(sub=f"user-{n}")))) is not None
    remembered = authenticator._remembered
    assert len(remembered) == REMEMBERED
    assert hs256(claims(sub="user-5000")).encode() not in remembered


@pytest.mark.parametrize(
    ("more", "who"),
    [
        ({"username": 7}, Identity(user="user-1")),
        ({"username": ""}, Identity(user="user-1")),
        ({"username": "x" * 101}, Identity(user="user-1")),
        ({"username": "a\nb"}, Identity(user="user-1")),
        ({"username": ["ann"], "name": "Ann"}, Identity(user="user-1", name="Ann")),
        ({"role": "ADMIN"}, Identity(user="user-1", name="ann")),
        ({"role": ["admin"]}, Identity(user="user-1", name="ann")),
        ({"role": True}, Identity(user="user-1", name="ann")),
        ({"role": "admin"}, Identity(user="user-1", name="ann", role="admin")),
    ],
)
async def test_names_and_roles(jwt_with: MakeJwt, more: Claims, who: Identity) -> None:
    assert await jwt_with(secret=SECRET).identify(bearer(hs256(claims(**more)))) == who


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_hmac_family(jwt_with: MakeJwt, algorithm: str) -> None:
    authenticator = jwt_with(secret=SECRET, algorithms=algorithm)
    assert await authenticator.identify(bearer(jwt.encode(claims(), SECRET, algorithm))) == Identity(
        user="user-1", name="ann"
    )


PRIVATE_PEM = P256_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("section", "option", "says"),
    [
        ({}, "_schema", "either"),
        ({"secret": SECRET, "public_key": public_pem(RSA_KEY)}, "_schema", "either"),
        ({"secret": "x" * 31}, "secret", "at least 32 bytes for HS256"),
        ({"secret": ""}, "secret", "at least 32 bytes"),
        ({"secret": "x" * 32, "algorithms": ["HS256", "HS512"]}, "secret", "at least 64 bytes for HS512"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "algorithms", "RS256 cannot be used"),
        ({"secret": SECRET, "algorithms": ["none"]}, "algorithms", "Must be one of"),
        ({"secret": SECRET, "algorithms": []}, "algorithms", "Shorter"),
        ({"secret": public_pem(RSA_KEY)}, "secret", "public_key"),
        ({"secret": "\ud800" * 40}, "secret", "UTF-8"),
        ({"public_key": "not a key"}, "public_key", "PEM"),
        ({"public_key": PRIVATE_PEM}, "public_key", "PEM"),
        ({"public_key": public_pem(rsa_key(1024))}, "public_key", "2048"),
        ({"public_key": public_pem(ec.generate_private_key(ec.SECP256K1()))}, "public_key", "P-256"),
        ({"public_key": public_pem(RSA_KEY), "algorithms": ["HS256"]}, "algorithms", "HS256 cannot be used"),
        ({"public_key": public_pem(P384_KEY), "algorithms": ["ES256"]}, "algorithms", "ES384 can"),
        ({"secret": SECRET, "leeway": -1}, "leeway", "greater"),
        ({"secret": SECRET, "verify": False}, "verify", "Unknown"),
    ],
)
def test_settings_that_would_be_unsafe(section: Mapping[str, Any], option: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JwtSettings().load(section)
    messages = caught.value.messages_dict
    assert list(messages) == [option]
    assert says in str(messages[option])
    for value in section.values():
        assert not isinstance(value, str) or len(value) < 8 or value not in str(caught.value)


def test_the_secret_is_not_shown() -> None:
    settings = JwtSettings().load({"secret": SECRET})
    assert SECRET not in repr(settings)
    assert SECRET not in repr(replace(settings, leeway=1))
