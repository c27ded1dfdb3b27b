"""Settings: one key, and the algorithms that are accepted with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate, validates_schema

# The least length of a secret: that of the hash (RFC 7518, section 3.2).
SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
RSA_BITS = 2048  # RFC 7518, section 3.3
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = (*SECRET_BYTES, *RSA, *CURVES.values(), "EdDSA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``key`` is the secret or the PEM text; all of ``algorithms`` belong to its family. ``leeway`` is in seconds."""

    key: str = field(repr=False)
    algorithms: tuple[str, ...]
    audience: tuple[str, ...] = ()
    issuer: tuple[str, ...] = ()
    leeway: float = 0


class OneOrMore(fields.List[Any]):
    """A list of text, or a single one."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return super()._deserialize([value] if isinstance(value, str) else value, attr, data, **kwargs)


def _names(description: str) -> OneOrMore:
    return OneOrMore(
        fields.String(validate=validate.Length(min=1)),
        load_default=list,
        metadata={"type": "text, or a list", "description": description},
    )


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    secret = fields.String(
        metadata={
            "description": "The shared secret of HS256, HS384 or HS512, at least 32, 48 or 64 bytes. "
            "Either this or `public_key`."
        },
    )
    public_key = fields.String(
        metadata={
            "description": "The public key in PEM form: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519."
        },
    )
    algorithms = OneOrMore(
        fields.String(validate=validate.OneOf(ALGORITHMS)),
        validate=validate.Length(min=1),
        metadata={
            "type": "text, or a list",
            "default": "`HS256`, or what fits the key (`RS256` for RSA)",
            "description": "The signature algorithms that are accepted, whatever a token says.",
        },
    )
    audience = _names("Accepted `aud` values; a token must have one. Unless set, a token that has an `aud` is refused.")
    issuer = _names("Accepted `iss` values; a token must have one. Unless set, `iss` is not looked at.")
    leeway = fields.Float(
        load_default=5.0,
        validate=validate.Range(0, 300),
        metadata={"description": "Seconds that the clocks of issuer and server may differ."},
    )

    @validates_schema
    def fits(self, data: Mapping[str, Any], **_: object) -> None:
        if ("secret" in data) == ("public_key" in data):
            raise ValidationError("Needs either 'secret' or 'public_key'.")
        algorithms = data.get("algorithms") or []
        if "secret" in data:
            _check_secret(data["secret"], algorithms or ["HS256"])
        else:
            fitting = _fitting(data["public_key"])
            _refuse_others(algorithms, fitting)

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        key = data["secret"] if "secret" in data else data["public_key"]
        algorithms = data.get("algorithms") or ["HS256" if "secret" in data else _fitting(key)[0]]
        return Settings(
            key=key,
            algorithms=tuple(algorithms),
            audience=tuple(data["audience"]),
            issuer=tuple(data["issuer"]),
            leeway=data["leeway"],
        )


def _refuse_others(algorithms: Sequence[str], fitting: Sequence[str]) -> None:
    others = [a for a in algorithms if a not in fitting]
    if others:
        raise ValidationError(
            f"{', '.join(others)} cannot be used with this key; {', '.join(fitting)} can.", "algorithms"
        )


def _check_secret(secret: str, algorithms: Sequence[str]) -> None:
    from jwt.algorithms import HMACAlgorithm
    from jwt.exceptions import InvalidKeyError

    _refuse_others(algorithms, list(SECRET_BYTES))
    try:
        size = len(secret.encode())
    except UnicodeEncodeError:
        raise ValidationError("Must be text that UTF-8 can write.", "secret") from None
    least = max(SECRET_BYTES[a] for a in algorithms)
    if size < least:
        strictest = next(a for a in algorithms if SECRET_BYTES[a] == least)
        raise ValidationError(f"Must have at least {least} bytes for {strictest}.", "secret")
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        problem = "Is a public key; that is known to everybody and belongs in 'public_key'."
        raise ValidationError(problem, "secret") from None


def _fitting(pem: str) -> Sequence[str]:
    """The algorithms that a public key can be used with, the usual one first."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValidationError("Is not a public key in PEM form.", "public_key") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size < RSA_BITS:
            raise ValidationError(f"Must have at least {RSA_BITS} bits.", "public_key")
        return RSA
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in CURVES:
        return (CURVES[key.curve.name],)
    if isinstance(key, Ed25519PublicKey):
        return ("EdDSA",)
    raise ValidationError("Must be an RSA, P-256, P-384, P-521 or Ed25519 key.", "public_key")
