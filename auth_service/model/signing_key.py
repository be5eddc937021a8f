"""A signing key as it is stored, its legal moves, and the port it is kept behind.

A key is published before it signs and stays published after it signed for the last time:

    pending -> active -> retiring -> retired        revoked, by command, from each of the first three

Waiting periods count from `observed_at`: the instant at which some process first saw the present state
committed. The instant that the writer had in hand when it began (`changed_at`) may lie well before the commit: a
process can be suspended in between, and the key would have been visible for less time than it seems.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from shared.jws import SigningKey


class KeyState(StrEnum):
    """Where a key stands."""

    PENDING = "pending"
    """Published, does not sign yet."""
    ACTIVE = "active"
    """Published and signs; at most one key is."""
    RETIRING = "retiring"
    """Published for the tokens it signed, signs no more."""
    RETIRED = "retired"
    """Gone from the key set, its tokens have expired; the private part is destroyed."""
    REVOKED = "revoked"
    """Taken out of the key set by command, at once; the private part is destroyed."""


PUBLISHED_STATES = frozenset({KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING})


class IllegalKeyMove(ValueError):
    """A key was asked to go from its state to one that does not follow it."""


@dataclass(frozen=True, slots=True)
class SealedPrivateKey:
    """A PKCS#8 private key sealed with AES-256-GCM, and the id of the master key that opens it."""

    master_key_id: str
    box: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKeyRecord:
    """One signing key. Instants are seconds since the epoch."""

    kid: str
    """The RFC 7638 thumbprint of the public key."""
    state: KeyState
    algorithm: str
    key_bits: int
    public_jwk: str
    """The public JWK (RFC 7517) as JSON."""
    sealed: SealedPrivateKey | None
    """None exactly when the key is retired or revoked."""
    created_at: float
    changed_at: float
    """When the present state was entered, by the clock of the process that wrote it."""
    observed_at: float | None
    """When the present state was first seen committed; None until then."""

    @property
    def is_published(self) -> bool:
        """Whether the key belongs into the key set."""
        return self.state in PUBLISHED_STATES

    def observed(self, at: float) -> SigningKeyRecord:
        """The present state was seen committed at `at`: its waiting period begins."""
        if self.observed_at is not None:
            raise IllegalKeyMove("the state has been observed before")
        return replace(self, observed_at=at)

    def activated(self, at: float) -> SigningKeyRecord:
        """A pending key begins to sign."""
        return self._move({KeyState.PENDING}, KeyState.ACTIVE, at)

    def superseded(self, at: float) -> SigningKeyRecord:
        """The active key stops signing in favour of another."""
        return self._move({KeyState.ACTIVE}, KeyState.RETIRING, at)

    def retired(self, at: float) -> SigningKeyRecord:
        """The last token of a retiring key has expired: it leaves the key set and its private part is destroyed."""
        return replace(self._move({KeyState.RETIRING}, KeyState.RETIRED, at), sealed=None)

    def revoked(self, at: float) -> SigningKeyRecord:
        """A published key is withdrawn at once and its private part is destroyed."""
        return replace(self._move(PUBLISHED_STATES, KeyState.REVOKED, at), sealed=None)

    def resealed(self, sealed: SealedPrivateKey) -> SigningKeyRecord:
        """The same key, its private part sealed anew; neither state nor instants change."""
        if self.sealed is None:
            raise IllegalKeyMove(f"a {self.state} key has no private part")
        return replace(self, sealed=sealed)

    def _move(self, sources: frozenset[KeyState] | set[KeyState], target: KeyState, at: float) -> SigningKeyRecord:
        if self.state not in sources:
            raise IllegalKeyMove(f"a {self.state} key cannot become {target}")
        return replace(self, state=target, changed_at=at, observed_at=None)


class SigningKeyRecords(Protocol):
    """The signing keys inside one transaction. The store holds at most one pending and one active key."""

    def lock(self) -> None:
        """Keep every other writer of signing keys out until this transaction ends; readers go on."""

    def published(self) -> list[SigningKeyRecord]:
        """The pending, active and retiring keys, oldest first."""

    def all(self) -> list[SigningKeyRecord]:
        """Every key there ever was, oldest first."""

    def find(self, kid: str) -> SigningKeyRecord | None:
        """The key with this id."""

    def add(self, record: SigningKeyRecord) -> bool:
        """Store a new key; False when its kid or its place (the one pending, the one active key) is taken."""

    def replace(self, before: SigningKeyRecord, after: SigningKeyRecord) -> bool:
        """Store `after` in the place of `before`; False when what is stored is no longer in `before`'s state."""


class SigningKeySource(Protocol):
    """Where the key that signs now comes from: the key ring."""

    def signing_key(self) -> SigningKey:
        """The key; an `Unavailable` when there is none to sign with at present."""
