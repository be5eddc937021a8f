"""Private keys at rest: AES-256-GCM under a master key that is not in the database.

The master key comes from a setting or from a file that is made at the first start. The kid and the master key's
id are authenticated with the private key, so a box cannot be moved to another row.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth_service.model.signing_key import SealedPrivateKey
from shared import base64url
from shared.private_files import write_private_file

MASTER_KEY_BYTES = 32
"""256 bits (AES-256; NIST SP 800-57 part 1, security strength 256)."""
MASTER_KEY_ID_BYTES = 16
NONCE_BYTES = 12
"""Random for each box (NIST SP 800-38D section 8.2.2: up to 2^32 boxes for one key; a rotation makes one)."""
BOX_FORMAT = b"\x01"
"""First byte of a box, so that another construction can follow this one."""
MIN_DISTINCT_BYTES = 16
"""32 random bytes have 30 distinct ones on average; fewer than 16 come up once in 10^10 times."""
PLACEHOLDER_WORDS = ("change", "replace", "secret", "example", "password", "default", "insert")
OTHERS_MAY = 0o077
"""The permission bits of everybody but the owner."""
HOW_TO_MAKE_ONE = "make one with: openssl rand -base64 32"


class MasterKeyUnusable(Exception):
    """A start or a command cannot go on with this master key; the text says what to do and holds no secret."""


class MasterKey:
    """One master key: seals and opens, and is known by an id that tells nothing about it."""

    __slots__ = ("_cipher", "device_key", "key_id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != MASTER_KEY_BYTES:
            raise ValueError(f"must be {MASTER_KEY_BYTES} bytes, not {len(secret)}; {HOW_TO_MAKE_ONE}")
        self.key_id = _derive(secret, b"signet master key id", MASTER_KEY_ID_BYTES).hex()
        self.device_key = _derive(secret, b"signet device tokens", MASTER_KEY_BYTES)
        """What device tokens are made under (`identity.devices`); every process with this master key has the same."""
        self._cipher = AESGCM(_derive(secret, b"signet signing key sealing", MASTER_KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> MasterKey:
        """Read 32 random bytes in base64 or base64url; raise ValueError, without the value, for anything else."""
        secret = _decode(text)
        if len(secret) != MASTER_KEY_BYTES:
            raise ValueError(f"must be {MASTER_KEY_BYTES} bytes in base64, not {len(secret)}; {HOW_TO_MAKE_ONE}")
        if _is_placeholder(text, secret):
            raise ValueError(f"is a placeholder, not a random value; {HOW_TO_MAKE_ONE}")
        return cls(secret)

    @classmethod
    def load_or_create(cls, path: Path) -> MasterKey:
        """Read the key from `path`; when there is no file, make one (mode 0600, in a 0700 folder).

        Processes that start together agree on one: a file appears whole, and the first to appear stays. Raises
        MasterKeyUnusable when a file is there and cannot be used.
        """
        try:
            if not path.exists():
                write_private_file(path, f"{new_master_key()}\n".encode(), replace=False)
            if path.stat().st_mode & OTHERS_MAY:
                raise MasterKeyUnusable(f"the master key in {path} is open to other users; run: chmod 600 {path}")
            text = path.read_text("ascii")
        except OSError as error:
            raise MasterKeyUnusable(f"the master key in {path} cannot be read or made ({error.strerror})") from error
        except UnicodeDecodeError:
            text = ""
        try:
            return cls.parse(text.removesuffix("\n"))
        except ValueError:
            raise MasterKeyUnusable(
                f"{path} does not hold a master key: it was damaged or replaced. Put the file back from a backup; "
                "without it, move it away and replace the signing keys with: "
                "python -m auth_service keys revoke KID --lost-master-key"
            ) from None

    def seal(self, kid: str, private_key: bytes) -> SealedPrivateKey:
        """Seal the PKCS#8 DER of the key `kid`."""
        nonce = os.urandom(NONCE_BYTES)
        box = self._cipher.encrypt(nonce, private_key, _associated_data(kid, self.key_id))
        return SealedPrivateKey(master_key_id=self.key_id, box=BOX_FORMAT + nonce + box)

    def open(self, kid: str, sealed: SealedPrivateKey) -> bytes:
        """The PKCS#8 DER of the key `kid`; MasterKeyUnusable when the box was not sealed so, or was altered."""
        nonce, box = sealed.box[1 : 1 + NONCE_BYTES], sealed.box[1 + NONCE_BYTES :]
        try:
            if not sealed.box.startswith(BOX_FORMAT) or len(nonce) != NONCE_BYTES:
                raise InvalidTag
            return self._cipher.decrypt(nonce, box, _associated_data(kid, self.key_id))
        except InvalidTag:
            raise MasterKeyUnusable(
                f"the signing key {kid} in the database was altered or damaged. Restore the database from a backup, "
                f"or replace the key with: python -m auth_service keys revoke {kid}"
            ) from None


class MasterKeys:
    """The master key that seals, and older ones that can still be opened until everything is sealed anew."""

    def __init__(self, current: MasterKey, older: Sequence[MasterKey] = ()) -> None:
        self._current = current
        self._by_id = {key.key_id: key for key in (*older, current)}

    @property
    def current_id(self) -> str:
        """The id of the master key that seals."""
        return self._current.key_id

    @property
    def device_keys(self) -> Sequence[bytes]:
        """The current master key's, then those of the older ones."""
        older = [key for key in self._by_id.values() if key is not self._current]
        return [self._current.device_key, *(key.device_key for key in older)]

    def seal(self, kid: str, private_key: bytes) -> SealedPrivateKey:
        """Seal under the current master key."""
        return self._current.seal(kid, private_key)

    def open(self, kid: str, sealed: SealedPrivateKey) -> bytes:
        """Open with the master key it was sealed under; MasterKeyUnusable when that one is not here."""
        return self.sealer(kid, sealed).open(kid, sealed)

    def sealer(self, kid: str, sealed: SealedPrivateKey) -> MasterKey:
        """The master key that sealed the key `kid`; MasterKeyUnusable when it is not here."""
        key = self._by_id.get(sealed.master_key_id)
        if key is None:
            raise MasterKeyUnusable(
                f"the signing key {kid} is sealed under the master key with the id {sealed.master_key_id}, but "
                f"AUTH_MASTER_KEY (or the file master.key) is the one with the id {self.current_id}. Put the former "
                "one back, or add it to AUTH_FORMER_MASTER_KEYS and run: python -m auth_service keys reseal. If it is "
                f"lost, replace the signing key with: python -m auth_service keys revoke {kid} --lost-master-key"
            )
        return key

    def reseal(self, kid: str, sealed: SealedPrivateKey) -> SealedPrivateKey:
        """The same private key under the current master key; the very same box when it is there already."""
        if sealed.master_key_id == self.current_id:
            return sealed
        return self.seal(kid, self.open(kid, sealed))


def new_master_key() -> str:
    """The text of a new random master key, base64url."""
    while True:
        secret = secrets.token_bytes(MASTER_KEY_BYTES)
        text = base64url.encode(secret)
        # Once in some million times chance spells a word that `parse` would take for a placeholder.
        if not _is_placeholder(text, secret):
            return text


def _derive(secret: bytes, purpose: bytes, length: int) -> bytes:
    # One purpose, one key: the id must tell nothing about the cipher's key, nor may another use of this secret.
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(secret)


def _associated_data(kid: str, master_key_id: str) -> bytes:
    return b"\0".join((b"signet signing key", kid.encode(), master_key_id.encode()))


def _decode(text: str) -> bytes:
    unpadded = text.removesuffix("=").removesuffix("=")
    if "-" not in unpadded and "_" not in unpadded:
        unpadded = unpadded.replace("+", "-").replace("/", "_")
    try:
        return base64url.decode(unpadded)
    except ValueError:
        raise ValueError(f"must be base64; {HOW_TO_MAKE_ONE}") from None


def _is_placeholder(text: str, secret: bytes) -> bool:
    steps = {(after - before) % 256 for before, after in itertools.pairwise(secret)}
    return (
        len(set(secret)) < MIN_DISTINCT_BYTES
        or len(steps) == 1
        or all(0x20 <= byte < 0x7F for byte in secret)
        or any(word in text.lower() for word in PLACEHOLDER_WORDS)
    )
