"""The access token, both ends in one file: the value, its encoding, its strict decoding (RFC 9068).

Decoding follows one order of checks (RFC 9068 section 4, RFC 8725, RFC 7515, RFC 7519) and is done in two steps
around the key lookup, so that only an unknown key makes anybody wait:

    unverified = decoder.read(text)                       # form and header; knows no key
    verified = decoder.verify(unverified, key, now)       # signature, then claims

Parsing and claim rules are ours because a general decoder accepts what must be refused (duplicate members,
UTF-16, numbers as strings, other token types). The algorithms are PyJWT's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, TypeGuard

from shared import base64url, jws
from shared.bearer import InvalidToken, TokenFault
from shared.jwk import PublicJwk, valid_key_id
from shared.revocation_feed import common_identifier_hash, identifier_hash
from shared.scope import Scope
from shared.status_list import InvalidStatus, StatusReference, read_status_claim
from shared.strict_json import strict_json_loads
from shared.token_rules import TOKEN_TYPE, Profile, TokenRules

MAX_TOKEN_LENGTH: Final = 8_192
"""Characters; just above what a header line may have at all."""
MAX_IDENTIFIER_LENGTH: Final = 255
"""Characters of sub, client_id, jti and the like (OpenID Connect Core section 2 for sub)."""
MAX_NUMERIC_DATE: Final = 2**53
"""Beyond it a JSON number is no exact integer any more (RFC 7493 section 2.2)."""
MAX_KNOWN_HEADERS: Final = 64
"""Header texts whose reading is remembered; a set has at most 32 keys."""

PROFILE_CLAIMS: Final = ("preferred_username", "name", "email", "email_verified")
# What only other kinds of token carry: ID tokens, logout tokens, security events, status lists (RFC 8725 section 3.12).
_OTHER_KINDS_CLAIMS: Final = frozenset(
    {"nonce", "at_hash", "c_hash", "s_hash", "events", "htm", "htu", "ath", "status_list"}
)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of an access token (RFC 9068 section 2.2). Times are seconds since the epoch."""

    issuer: str
    subject: str
    audience: str | tuple[str, ...]
    client_id: str
    issued_at: float
    expires_at: float
    token_id: str
    scope: Scope = field(default_factory=Scope)
    session_id: str | None = None
    auth_time: float | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    status: StatusReference | None = None
    profile: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_of_client(self) -> bool:
        """Whether a client acts for itself and no user is there (RFC 9068 section 5)."""
        return self.subject == self.client_id


def encode(token: AccessToken, signing_key: jws.SigningKey) -> str:
    """`token` signed by `signing_key`, in compact form; claims that are None or empty are left out."""
    claims: dict[str, object] = {
        "iss": token.issuer,
        "sub": token.subject,
        "aud": token.audience if isinstance(token.audience, str) else list(token.audience),
        "client_id": token.client_id,
        "iat": token.issued_at,
        "exp": token.expires_at,
        "jti": token.token_id,
        "scope": str(token.scope) or None,
        "sid": token.session_id,
        "auth_time": token.auth_time,
        "acr": token.acr,
        "amr": list(token.amr) or None,
        "status": None if token.status is None else token.status.as_claim(),
    }
    for name in PROFILE_CLAIMS:
        claims[name] = token.profile.get(name)
    present = {name: value for name, value in claims.items() if value is not None}
    return jws.sign(TOKEN_TYPE, present, signing_key).decode("ascii")


class IdentifierHashes(NamedTuple):
    """What a token is called by in a revocation feed; empty where it says nothing."""

    token: bytes
    session: bytes
    account: bytes
    client: bytes
    key: bytes


class VerifiedAccessToken:
    """An access token that `AccessTokenDecoder.verify` found good; nothing else can make one.

    It has the members of `AccessToken`; `kid` names the key that signed it. What requests look at is a slot, the
    rest is read again from the payload when it is asked for: thousands of these are kept, and shared between
    requests, so they are small and nothing that they hand out can be changed.
    """

    __slots__ = (
        "_identifier_hashes",
        "_payload",
        "acr",
        "auth_time",
        "client_id",
        "expires_at",
        "issued_at",
        "issuer",
        "kid",
        "not_before",
        "scope",
        "session_id",
        "status",
        "subject",
        "token_id",
    )
    issuer: str
    subject: str
    client_id: str
    issued_at: float
    expires_at: float
    not_before: float | None
    token_id: str
    scope: Scope
    session_id: str | None
    auth_time: float | None
    acr: str | None
    status: StatusReference | None
    """Where its status stands; None also where the rules say that it is not looked at."""
    kid: str
    _payload: bytes
    _identifier_hashes: IdentifierHashes | None

    def __init__(self) -> None:
        raise TypeError("only the decoder makes a verified token")

    @property
    def claims(self) -> Mapping[str, Any]:
        """All claims, as the issuer wrote them, read-only to the bottom."""
        claims: Mapping[str, Any] = _freeze(strict_json_loads(self._payload))
        return claims

    @property
    def audience(self) -> str | tuple[str, ...]:
        audience: str | tuple[str, ...] = self.claims["aud"]
        return audience

    @property
    def amr(self) -> tuple[str, ...]:
        return self.claims.get("amr") or ()

    @property
    def profile(self) -> Mapping[str, object]:
        """Who the user is, as far as the scope lets it be known (OpenID Connect Core section 5.1)."""
        claims = self.claims
        profile: dict[str, object] = {
            name: claims[name] for name in ("preferred_username", "name", "email") if isinstance(claims.get(name), str)
        }
        if "email_verified" in claims:
            # "true", 1 and the like are not a verified address.
            profile["email_verified"] = claims["email_verified"] is True
        return MappingProxyType(profile)

    @property
    def is_of_client(self) -> bool:
        """Whether a client acts for itself and no user is there (RFC 9068 section 5)."""
        return self.subject == self.client_id

    @property
    def identifier_hashes(self) -> IdentifierHashes:
        """What the token is looked up by among what was revoked; made when it is first asked for, then kept."""
        hashes = self._identifier_hashes
        if hashes is None:
            hashes = IdentifierHashes(
                token=identifier_hash(self.token_id),
                session=b"" if self.session_id is None else identifier_hash(self.session_id),
                account=identifier_hash(self.subject),
                client=common_identifier_hash(self.client_id),
                key=common_identifier_hash(self.kid),
            )
            _set(self, "_identifier_hashes", hashes)
        return hashes

    def identity(self) -> dict[str, str]:
        """What a log line may say of it: whose it is and which, nothing that opens a door."""
        return {
            "iss": self.issuer,
            "sub": self.subject,
            "client_id": self.client_id,
            "jti": self.token_id,
            "kid": self.kid,
        }

    def __repr__(self) -> str:
        return f"<VerifiedAccessToken {self.token_id!r} of {self.subject!r}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a verified token is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a verified token is immutable")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a verified token does not leave the process that verified it")


_set: Final = object.__setattr__


class UnverifiedToken(NamedTuple):
    """A token of the right form with an acceptable header; its signature and its claims are yet unknown."""

    signing_input: bytes
    header_segment: bytes
    unverified_payload: bytes
    signature: bytes
    kid: str
    algorithm: str


class AccessTokenDecoder:
    """Reads the tokens of one issuer by one set of rules. Synchronous; raises InvalidToken and nothing else."""

    def __init__(self, rules: TokenRules) -> None:
        self.rules = rules
        # Only headers of tokens that were found good get in, so nobody else can fill it.
        self._known_headers: dict[bytes, tuple[str, str]] = {}
        self._only_access_tokens = rules.profile.token_types == {TOKEN_TYPE}

    def read(self, unverified_token: str) -> UnverifiedToken:
        """Check form and header (RFC 7515 sections 2 to 4, RFC 8725 section 3.1 and 3.11)."""
        signing_input, header_segment, payload_segment, signature_segment = _split(unverified_token)
        known = self._known_headers.get(header_segment)
        try:
            header = base64url.decode_alphabetic(header_segment) if known is None else b""
            payload = base64url.decode_alphabetic(payload_segment)
            signature = base64url.decode_alphabetic(signature_segment)
        except ValueError:
            raise InvalidToken(TokenFault.ENCODING) from None
        kid, algorithm = self._read_header(header) if known is None else known
        return UnverifiedToken(signing_input, header_segment, payload, signature, kid, algorithm)

    def is_plausible(self, unverified: UnverifiedToken, now: float) -> bool:
        """Whether its claims would pass if they were signed: what may be asked before a key set is fetched again."""
        try:
            self._check_claims(_read_claims(unverified.unverified_payload), now)
        except InvalidToken:
            return False
        return True

    def verify(self, unverified: UnverifiedToken, key: PublicJwk, now: float) -> VerifiedAccessToken:
        """Check the signature with `key`, then the claims at `now` (RFC 9068 section 4)."""
        if key.algorithm != unverified.algorithm or key.kid != unverified.kid:
            raise InvalidToken(TokenFault.ALGORITHM)
        if not key.verify(unverified.signature, unverified.signing_input):
            raise InvalidToken(TokenFault.SIGNATURE)
        claims = _read_claims(unverified.unverified_payload)
        scope, client_id, token_id = self._check_claims(claims, now)
        status = _read_status(claims) if self.rules.follows_status else None
        if unverified.header_segment not in self._known_headers:
            self._remember_header(unverified)
        get = claims.get
        verified = object.__new__(VerifiedAccessToken)
        _set(verified, "issuer", self.rules.issuer)
        _set(verified, "subject", claims["sub"])
        _set(verified, "client_id", client_id)
        _set(verified, "issued_at", claims["iat"])
        _set(verified, "expires_at", claims["exp"])
        _set(verified, "not_before", get("nbf"))
        _set(verified, "token_id", token_id)
        _set(verified, "scope", scope)
        _set(verified, "session_id", get("sid"))
        _set(verified, "auth_time", get("auth_time"))
        _set(verified, "acr", get("acr"))
        _set(verified, "status", status)
        _set(verified, "kid", key.kid)
        _set(verified, "_payload", unverified.unverified_payload)
        _set(verified, "_identifier_hashes", None)
        return verified

    def decode(self, unverified_token: str, keys: Mapping[str, PublicJwk], now: float) -> VerifiedAccessToken:
        """Both steps with a complete set of keys, by key id."""
        unverified = self.read(unverified_token)
        key = keys.get(unverified.kid)
        if key is None:
            raise InvalidToken(TokenFault.UNKNOWN_KEY)
        return self.verify(unverified, key, now)

    def check_time(self, token: VerifiedAccessToken, now: float) -> None:
        """The checks that a token verified earlier may fail by now."""
        rules = self.rules
        if now >= token.expires_at + rules.leeway:
            raise InvalidToken(TokenFault.EXPIRED)
        if token.not_before is not None and token.not_before > now + rules.leeway:
            raise InvalidToken(TokenFault.NOT_YET_VALID)
        if token.issued_at > now + rules.leeway:
            raise InvalidToken(TokenFault.ISSUED_IN_FUTURE)
        if rules.max_age is not None and now - token.issued_at > rules.max_age:
            raise InvalidToken(TokenFault.TOO_OLD)

    def _read_header(self, encoded: bytes) -> tuple[str, str]:
        try:
            header = strict_json_loads(encoded)
        except ValueError:
            raise InvalidToken(TokenFault.HEADER) from None
        if not isinstance(header, dict):
            raise InvalidToken(TokenFault.HEADER)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self.rules.algorithms:
            raise InvalidToken(TokenFault.ALGORITHM)
        token_type = header.get("typ", "")
        if not isinstance(token_type, str) or jws.media_type(token_type) not in self.rules.profile.token_types:
            raise InvalidToken(TokenFault.TYPE)
        if not jws.REFUSED_HEADER_PARAMETERS.isdisjoint(header):
            raise InvalidToken(TokenFault.HEADER_PARAMETER)
        kid = header.get("kid")
        if not isinstance(kid, str) or not valid_key_id(kid):
            raise InvalidToken(TokenFault.KEY_ID)
        return kid, algorithm

    def _remember_header(self, unverified: UnverifiedToken) -> None:
        if len(self._known_headers) >= MAX_KNOWN_HEADERS:
            self._known_headers.clear()
        self._known_headers[unverified.header_segment] = (unverified.kid, unverified.algorithm)

    def _check_claims(self, claims: dict[str, Any], now: float) -> tuple[Scope, str, str]:
        rules, profile = self.rules, self.rules.profile
        # Equality with a text is also the check of the type: JSON has no other value that equals one.
        if claims.get("iss") != rules.issuer:
            raise InvalidToken(TokenFault.ISSUER)
        if not _is_for(rules.audience, claims.get("aud")):
            raise InvalidToken(TokenFault.AUDIENCE)
        _read_identifier(claims, ("sub",), TokenFault.SUBJECT)
        client_id = _read_identifier(claims, profile.client_id_claims, TokenFault.CLIENT)
        token_id = ""
        if profile.token_id_required or any(claims.get(name) is not None for name in profile.token_id_claims):
            token_id = _read_identifier(claims, profile.token_id_claims, TokenFault.TOKEN_ID)
        _check_times(claims, rules, now)
        if not self._only_access_tokens:
            _check_kind(claims)
        if claims.get("cnf") is not None:
            # No way to satisfy a confirmation is built, so a bound token cannot be used here (RFC 9449 section 7.2).
            raise InvalidToken(TokenFault.CONFIRMATION)
        _check_other_claims(claims)
        return _read_scope(claims, profile), client_id, token_id


def peek_issuer(unverified_token: str) -> str | None:
    """The issuer a token claims to come from, to choose whose rules it is checked by; it proves nothing."""
    _, _, payload_segment, _ = _split(unverified_token)
    try:
        claims = strict_json_loads(base64url.decode_alphabetic(payload_segment))
    except ValueError:
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def _split(unverified_token: str) -> tuple[bytes, bytes, bytes, bytes]:
    """As `jws.split`, for a text of at most MAX_TOKEN_LENGTH."""
    if len(unverified_token) > MAX_TOKEN_LENGTH:
        raise InvalidToken(TokenFault.LENGTH)
    try:
        return jws.split(unverified_token.encode("ascii"))
    except (UnicodeEncodeError, jws.InvalidJws):
        raise InvalidToken(TokenFault.FORMAT) from None


def _read_claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = strict_json_loads(payload)
    except ValueError:
        raise InvalidToken(TokenFault.PAYLOAD) from None
    if not isinstance(claims, dict):
        raise InvalidToken(TokenFault.PAYLOAD)
    return claims


def _is_for(audience: str, presented: object) -> bool:
    if isinstance(presented, list):
        return audience in presented and all(isinstance(item, str) for item in presented)
    return presented == audience


def _read_identifier(claims: dict[str, Any], names: tuple[str, ...], fault: TokenFault) -> str:
    for name in names:
        value = claims.get(name)
        if value is not None:
            # Printable: no control characters, no lone surrogates, no look-alike blanks.
            if isinstance(value, str) and len(value) <= MAX_IDENTIFIER_LENGTH and value.isprintable() and value.strip():
                return value
            break
    raise InvalidToken(fault)


def _is_numeric_date(value: object) -> TypeGuard[float]:
    # A bool is an int to isinstance, and none to JSON.
    return (type(value) is int or type(value) is float) and 0 <= value < MAX_NUMERIC_DATE


def _check_times(claims: dict[str, Any], rules: TokenRules, now: float) -> None:
    expires_at, issued_at, not_before = claims.get("exp"), claims.get("iat"), claims.get("nbf")
    if not _is_numeric_date(expires_at) or not _is_numeric_date(issued_at):
        raise InvalidToken(TokenFault.TIME_FORMAT)
    if not_before is not None and not _is_numeric_date(not_before):
        raise InvalidToken(TokenFault.TIME_FORMAT)
    if now >= expires_at + rules.leeway:
        raise InvalidToken(TokenFault.EXPIRED)
    if not_before is not None and not_before > now + rules.leeway:
        raise InvalidToken(TokenFault.NOT_YET_VALID)
    if issued_at > now + rules.leeway:
        raise InvalidToken(TokenFault.ISSUED_IN_FUTURE)
    if expires_at - issued_at > rules.max_lifetime:
        raise InvalidToken(TokenFault.LIFETIME)
    if rules.max_age is not None and now - issued_at > rules.max_age:
        raise InvalidToken(TokenFault.TOO_OLD)


def _check_kind(claims: dict[str, Any]) -> None:
    """Where `typ` does not tell them apart, the claims must: ID, refresh, logout and event tokens are refused."""
    if not _OTHER_KINDS_CLAIMS.isdisjoint(claims):
        raise InvalidToken(TokenFault.OTHER_KIND)
    if claims.get("typ", "Bearer") != "Bearer" or claims.get("token_use", "access") != "access":
        raise InvalidToken(TokenFault.OTHER_KIND)


def _check_other_claims(claims: dict[str, Any]) -> None:
    """Claims that need not be there, but mean something to us when they are."""
    session_id, acr = claims.get("sid"), claims.get("acr")
    auth_time, amr = claims.get("auth_time"), claims.get("amr")
    if session_id is not None and not isinstance(session_id, str):
        raise InvalidToken(TokenFault.CLAIM)
    if acr is not None and not isinstance(acr, str):
        raise InvalidToken(TokenFault.CLAIM)
    if auth_time is not None and not _is_numeric_date(auth_time):
        raise InvalidToken(TokenFault.CLAIM)
    if amr is not None and not (isinstance(amr, list) and all(isinstance(method, str) for method in amr)):
        raise InvalidToken(TokenFault.CLAIM)


def _read_status(claims: dict[str, Any]) -> StatusReference | None:
    try:
        return read_status_claim(claims.get("status"))
    except InvalidStatus:
        raise InvalidToken(TokenFault.STATUS) from None


def _read_scope(claims: dict[str, Any], profile: Profile) -> Scope:
    for name in profile.scope_claims:
        value = claims.get(name)
        if value is None:
            continue
        try:
            if isinstance(value, str):
                return Scope() if profile.loose_scope and not value else Scope.parse(value)
            if profile.loose_scope and isinstance(value, list) and all(isinstance(item, str) for item in value):
                return Scope(*value)
        except ValueError:
            pass
        raise InvalidToken(TokenFault.SCOPE)
    return Scope()


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({name: _freeze(item) for name, item in value.items()})
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    return value
