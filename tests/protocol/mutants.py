"""Mutants of valid tokens: bytes, segments, JSON, keys and signatures changed, nothing signed with the right key."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared import base64url
from tests.protocol.minting import TestKey, claims_of, header_of, mint, signing_key

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**53, 10**30, 1.5, 1e308, "", " ", "none", "None", "HS256", "RS256", "rs256", "PS256",
    "JWT", "at+jwt", "*", "\0", "\ud800", "🙂", "a" * 300, [], {}, [None], [[]], {"a": 1}, ["RS256"], "http://localhost:8001/",
)  # fmt: skip
HEADER_NAMES = ("alg", "typ", "kid", "crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c", "x")
CLAIM_NAMES = ("iss", "sub", "aud", "client_id", "iat", "exp", "nbf", "jti", "scope", "sid", "auth_time", "cnf", "x")
OUTSIDE_THE_ALPHABET = "+/=.,:;~!\"'{}[] \t\r\n\0ä🙂"
ANY_CHARACTER = base64url.ALPHABET.decode() + OUTSIDE_THE_ALPHABET


@cache
def valid_tokens() -> tuple[str, ...]:
    """What mutation starts from; all of them are accepted as they are."""
    return (mint(), mint(claims={"sub": "another"}), mint(header={"x": 1}), mint(claims={"scope": "a", "roles": ["b"]}))


def mutant(random: Random) -> str:
    """One token that nobody issued: never a valid one, whatever the mutation hit."""
    while True:
        token = random.choice(_MUTATIONS)(random)
        if random.random() < 0.1:
            token = _bytes(random, token)
        if token not in valid_tokens():
            return token


def _any_valid(random: Random) -> str:
    return random.choice(valid_tokens())


def _bytes(random: Random, token: str | None = None) -> str:
    characters = list(token or _any_valid(random))
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        at = random.randrange(len(characters))
        action = random.randrange(5)
        if action == 0:
            characters[at] = random.choice(ANY_CHARACTER)
        elif action == 1:
            characters.insert(at, random.choice(ANY_CHARACTER))
        elif action == 2 and len(characters) > 1:
            del characters[at]
        elif action == 3:
            other = random.randrange(len(characters))
            characters[at], characters[other] = characters[other], characters[at]
        else:
            characters[at] = characters[at].swapcase()
    return "".join(characters)


def _segments(random: Random) -> str:
    segments = _any_valid(random).split(".")
    donor = _any_valid(random).split(".")
    at = random.randrange(3)
    action = random.randrange(8)
    if action == 0:
        random.shuffle(segments)
    elif action == 1:
        del segments[at]
    elif action == 2:
        segments.insert(at, random.choice(donor))
    elif action == 3:
        segments[at] = donor[random.randrange(3)]
    elif action == 4:
        segments[at] = ""
    elif action == 5:
        segments[at] += "=" * random.randint(1, 3)
    elif action == 6:
        segments[at] = segments[at][: random.randrange(len(segments[at]))]
    else:
        segments[at] = segments[at][:-1] + random.choice(ANY_CHARACTER)
    return ".".join(segments)


def _json(random: Random) -> str:
    header, claims = header_of(signing_key()), claims_of()
    if random.random() < 0.5:
        _change(random, header, HEADER_NAMES)
    else:
        _change(random, claims, CLAIM_NAMES)
    return _sign(random, json.dumps(header).encode(), json.dumps(claims).encode())


def _raw_json(random: Random) -> str:
    parts = [json.dumps(header_of(signing_key())).encode(), json.dumps(claims_of()).encode()]
    at = random.randrange(2)
    raw = bytearray(parts[at])
    for _ in range(random.randint(1, 4)):
        where = random.randrange(len(raw))
        raw[where : where + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
    parts[at] = bytes(raw) or b"{}"
    encodings = ("utf-8", "utf-8", "utf-8", "utf-16", "utf-16-le", "utf-32", "utf-8-sig")
    parts[at] = parts[at].decode("utf-8", "replace").encode(random.choice(encodings))
    return _sign(random, parts[0], parts[1])


def _keys(random: Random) -> str:
    key = random.choice(_strangers())
    algorithm = random.choice((key.algorithm, "RS256", "none", "HS256"))
    kid = random.choice((signing_key().kid, key.kid, "", "../x"))
    header = header_of(key, alg=algorithm, kid=kid)
    if random.random() < 0.3:
        header["jwk"] = key.public_jwk.as_json_object()
    return _sign(random, json.dumps(header).encode(), json.dumps(claims_of()).encode(), key)


def _signature(random: Random) -> str:
    token = _any_valid(random)
    signing_input, _, signature = token.rpartition(".")
    raw = bytearray(base64url.decode(signature))
    action = random.randrange(5)
    if action == 0:
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    elif action == 1:
        raw = bytearray(random.randbytes(random.choice((1, 32, 64, 255, 256, 257, 512))))
    elif action == 2:
        raw = raw[: random.randint(1, len(raw) - 1)]
    elif action == 3:
        raw = raw + random.randbytes(random.randint(1, 9))
    else:
        modulus = int.from_bytes(base64url.decode(signing_key().public_jwk.members["n"]), "big")
        raised = int.from_bytes(raw, "big") + modulus * random.randint(1, 3)  # the same value to plain RSA
        raw = bytearray(raised.to_bytes((raised.bit_length() + 7) // 8, "big"))
    return f"{signing_input}.{base64url.encode(bytes(raw))}"


def _sign(random: Random, header: bytes, payload: bytes, key: TestKey | None = None) -> str:
    signing_input = f"{base64url.encode(header)}.{base64url.encode(payload)}"
    action = random.randrange(4) if key is None else 0
    if action == 0:
        signature = (key or random.choice(_strangers())).sign(signing_input.encode())
    elif action == 1:
        signature = hmac.new(random.choice(_public_texts()), signing_input.encode(), hashlib.sha256).digest()
    elif action == 2:
        signature = base64url.decode(_any_valid(random).rpartition(".")[2])
    else:
        return f"{signing_input}."
    return f"{signing_input}.{base64url.encode(signature)}"


def _change(random: Random, members: dict[str, Any], names: tuple[str, ...]) -> None:
    for _ in range(random.randint(1, 3)):
        name = random.choice(names)
        if random.random() < 0.2:
            members.pop(name, None)
        else:
            members[name] = random.choice(NASTY)


@cache
def _strangers() -> tuple[TestKey, ...]:
    # Mostly fast ones: what counts is the number of mutants.
    return (signing_key("ES256"), signing_key("Ed25519"), signing_key("ES256", 1), signing_key("RS256", 1))


@cache
def _public_texts() -> tuple[bytes, ...]:
    public_key = signing_key().public_jwk.public_key
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (pem, b"\n" + pem, der, json.dumps(signing_key().public_jwk.as_json_object()).encode(), b"")


_MUTATIONS: tuple[Callable[[Random], str], ...] = (_bytes, _segments, _json, _raw_json, _keys, _signature)
