"""Known devices: what a browser or program keeps from a sign-in, so that it is recognised at the next one.

A device token proves that an account's password was once given on this device. It signs nobody in; it only lets the
throttle tell the owner from strangers, so that who spends what strangers may fail does not keep the owner out (OWASP,
"Slow Down Online Guessing Attacks with Device Cookies").

Nothing is stored of it. The token is a random name, the instant it was made, and a tag over both and over the account
and the instant of its last change of password, under a key that is derived from the master key. So a change of
password makes strangers of all devices, also of those of somebody who had the password, and no copy of the database
makes a token. One device may have tokens of several accounts; it keeps them joined by dots, newest first.
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from auth_service.model.account import Account
from shared import base64url

NAME_BYTES = 16
"""128 random bits: each device has its own budget, so no two may share a name."""
TAG_BYTES = 32
"""HMAC-SHA256, whole (RFC 2104)."""
LIFETIME_SECONDS = 400 * 86_400
"""As long as a browser keeps a cookie at most (RFC 6265bis section 5.5)."""
RENEWAL_SECONDS = 30 * 86_400
"""A token of that age is replaced at the next sign-in, so that a device in use stays known."""
MAX_ACCOUNTS = 5
"""How many accounts one device may be known for at a time; the one that signed in longest ago is forgotten."""
SEPARATOR = "."
MADE_AT_BYTES = 6
"""Seconds since the epoch; with six the token is a multiple of three bytes long and needs no padding."""
PASSWORD_CHANGED_AT = struct.Struct(">d")
TOKEN_FORM = re.compile(r"[A-Za-z0-9_-]{72}", re.ASCII)
"""Name, instant and tag, 54 bytes in base64url."""
MAX_CHARACTERS = 1_000
"""Nothing longer is looked at; what we give out is shorter."""


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device that was recognised: the name of its budget, and when its token was made."""

    name: bytes = field(repr=False)
    made_at: int


class Devices:
    """Makes and recognises device tokens.

    `keys` are secrets of 32 bytes: the one in use, then former ones. Without any no device is ever known.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def recognise(self, presented_tokens: str, account: Account | None, *, at: float) -> KnownDevice | None:
        """The device that presents these, when one of them is a token for `account`; None for a stranger.

        Without an account the work is the same.
        """
        for token in _split(presented_tokens):
            content, tag = token[:-TAG_BYTES], token[-TAG_BYTES:]
            made_at = int.from_bytes(content[NAME_BYTES:])
            genuine = [hmac.compare_digest(tag, _tag(key, content, account)) for key in self._keys]
            if any(genuine) and account is not None and at < made_at + LIFETIME_SECONDS:
                return KnownDevice(content[:NAME_BYTES], made_at)
        return None

    def remember(self, presented_tokens: str, account: Account, *, at: float) -> str | None:
        """What the device is to keep now that `account` has signed in on it; None for what it has.

        A token that is replaced passes its name on: the device's budget is not whole again by that.
        """
        known = self.recognise(presented_tokens, account, at=at)
        if not self._keys or (known is not None and at < known.made_at + RENEWAL_SECONDS):
            return None
        name = secrets.token_bytes(NAME_BYTES) if known is None else known.name
        content = name + int(at).to_bytes(MADE_AT_BYTES)
        others = [token for token in _split(presented_tokens) if token[:NAME_BYTES] != name]
        tokens = [content + _tag(self._keys[0], content, account), *others][:MAX_ACCOUNTS]
        return SEPARATOR.join(map(base64url.encode, tokens))


def _split(presented_tokens: str) -> Iterator[bytes]:
    if len(presented_tokens) > MAX_CHARACTERS:
        return
    for text in presented_tokens.split(SEPARATOR)[:MAX_ACCOUNTS]:
        if TOKEN_FORM.fullmatch(text):
            yield base64url.decode(text)


def _tag(key: bytes, content: bytes, account: Account | None) -> bytes:
    # The parts before the subject have one length each, so no two lists of parts are one message.
    changed_at, sub = (0.0, "") if account is None else (account.password_changed_at, account.sub)
    return hmac.digest(key, b"\0".join((content, PASSWORD_CHANGED_AT.pack(changed_at), sub.encode())), "sha256")
