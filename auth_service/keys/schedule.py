"""The schedule of key rotation: pure arithmetic on records and an instant.

Two promises and what they cost, for processes that may be cut off from the database at any moment:

- *No key signs before every cache can have it.* A process vouches for the key set it read for
  `key_set_lease_seconds` and then serves none. A set without the new key is therefore served for at most that long
  after the key was committed, and cached for `max_age_seconds` more; twice that where a shared cache stands
  between and the verifier ignores `Age`. With the difference of two clocks that is `propagation_seconds`.
- *No key leaves before its last token has expired.* A process signs with the key it read for
  `signing_lease_seconds` and then not at all. The last signature is therefore made at most that long after the
  successor was committed, and its token accepted for `token_seconds` and `leeway_seconds` more. With the clocks of
  signer and verifier, and of the two processes that measured the wait, that is `retention_seconds`.

Leases run on each process's own monotonic clock; only the two waits compare wall clocks of different machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auth_service.keys.private_key import KEY_BITS
from auth_service.model.signing_key import KeyState, SigningKeyRecord
from shared.token_rules import MAX_LEEWAY_SECONDS, MAX_LIFETIME_SECONDS

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class KeySettings:
    """How keys are made and how long they live, in seconds. ValueError when the values do not fit together."""

    key_bits: int = 2_048
    """Of keys that are made from now on; the next rotation brings it about."""
    rotation_seconds: float = 30 * DAY_SECONDS
    """How long a key signs (NIST SP 800-57 part 1, section 5.3.6 allows one to three years)."""
    max_age_seconds: int = 300
    """`Cache-Control: max-age` of the key set."""
    token_seconds: float = MAX_LIFETIME_SECONDS
    """The longest life of anything that is signed: the limit, not today's setting, or lowering the setting would
    cut off tokens that are out already."""
    leeway_seconds: float = MAX_LEEWAY_SECONDS
    """How long after its expiry a resource server may still accept a token."""
    clock_difference_seconds: float = 60
    """The most by which the clocks of any two machines differ."""
    refresh_seconds: float = 5
    """How often each process reads the keys: how soon a revocation is everywhere."""
    signing_lease_seconds: float = 30
    """How long a process goes on signing when it cannot read the keys: six attempts."""

    def __post_init__(self) -> None:
        if self.key_bits not in KEY_BITS:
            raise ValueError(f"an RSA key has {', '.join(map(str, KEY_BITS))} bits, not {self.key_bits}")
        if not 0 < self.refresh_seconds < self.signing_lease_seconds <= self.key_set_lease_seconds:
            raise ValueError("a lease must outlive a refresh, and signing must stop before publishing does")
        if min(self.token_seconds, self.leeway_seconds, self.clock_difference_seconds) < 0:
            raise ValueError("a duration is not negative")
        if self.rotation_seconds <= self.propagation_seconds:
            raise ValueError(f"a key must sign for longer than its successor waits, {self.propagation_seconds:g} s")

    @property
    def key_set_lease_seconds(self) -> float:
        """How long a process goes on publishing the keys it read."""
        return self.max_age_seconds

    @property
    def propagation_seconds(self) -> float:
        """How long a new key is published before it signs."""
        return self.key_set_lease_seconds + 2 * self.max_age_seconds + self.clock_difference_seconds

    @property
    def retention_seconds(self) -> float:
        """How long a key stays published after its successor took over."""
        lifetime = self.token_seconds + self.leeway_seconds
        return self.signing_lease_seconds + lifetime + 2 * self.clock_difference_seconds


@dataclass(frozen=True, slots=True)
class Change:
    """One record's move, as it was and as it is to be."""

    before: SigningKeyRecord
    after: SigningKeyRecord


def due_changes(published: Sequence[SigningKeyRecord], now: float, settings: KeySettings) -> list[Change]:
    """What is to be written at the instant `now`, in the order in which it must be written.

    `published` was committed before `now` was read off the clock.
    """
    changes: list[Change] = []
    pending, active = in_state(published, KeyState.PENDING), in_state(published, KeyState.ACTIVE)
    if pending is not None and (active is None or _has_waited(pending, now, settings.propagation_seconds)):
        if active is not None:
            # The former key first: there is never more than one that is active.
            changes.append(Change(active, active.superseded(now)))
        changes.append(Change(pending, pending.activated(now)))
    moved = [change.before for change in changes]
    for record in published:
        if record in moved:
            continue
        if record.observed_at is None:
            changes.append(Change(record, record.observed(now)))
        elif record.state is KeyState.RETIRING and _has_waited(record, now, settings.retention_seconds):
            changes.append(Change(record, record.retired(now)))
    return changes


def newcomer(published: Sequence[SigningKeyRecord], now: float, settings: KeySettings) -> KeyState | None:
    """The state in which a new key has to be made now; None when none has to be.

    Without a key that signs or waits to, the new one signs at once: at the very first start nobody can have cached a
    key set without it, and after an emergency there is no choice.
    """
    if in_state(published, KeyState.PENDING) is not None:
        return None
    active = in_state(published, KeyState.ACTIVE)
    if active is None:
        return KeyState.ACTIVE
    if _has_waited(active, now, settings.rotation_seconds - settings.propagation_seconds):
        return KeyState.PENDING
    return None


def next_change_at(record: SigningKeyRecord, settings: KeySettings) -> float | None:
    """When this key's state changes by itself; None for one that has come to its end.

    A state that nobody has seen committed yet is counted from the instant at which it was entered.
    """
    waits = {
        KeyState.PENDING: settings.propagation_seconds,
        KeyState.ACTIVE: settings.rotation_seconds,
        KeyState.RETIRING: settings.retention_seconds,
    }
    wait = waits.get(record.state)
    if wait is None:
        return None
    return wait + (record.changed_at if record.observed_at is None else record.observed_at)


def in_state(records: Sequence[SigningKeyRecord], state: KeyState) -> SigningKeyRecord | None:
    """The first record in `state`."""
    return next((record for record in records if record.state is state), None)


def _has_waited(record: SigningKeyRecord, now: float, seconds: float) -> bool:
    return record.observed_at is not None and now >= record.observed_at + seconds
