"""The master key and what it seals."""

from __future__ import annotations

import base64
import multiprocessing
import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.keys.sealing import MasterKey, MasterKeys, MasterKeyUnusable, new_master_key
from auth_service.model.signing_key import SealedPrivateKey

KID = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
PRIVATE = b"a private key in PKCS#8 DER"
RANDOM = random.Random(20).randbytes(64)


@pytest.mark.parametrize("variant", ["standard", "url", "unpadded"])
def test_a_master_key_may_be_base64_or_base64url_with_or_without_padding(variant: str) -> None:
    """One value, one master key, however it is spelt."""
    secret = bytes.fromhex("fbff3e" * 2) + bytes(range(40, 92, 2))
    text = {
        "standard": base64.b64encode(secret).decode(),
        "url": base64.urlsafe_b64encode(secret).decode(),
        "unpadded": base64.urlsafe_b64encode(secret).decode().rstrip("="),
    }[variant]
    assert MasterKey.parse(text).key_id == MasterKey(secret).key_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "changeme",
        base64.b64encode(RANDOM[:31]).decode(),
        base64.b64encode(RANDOM[:33]).decode(),
        base64.b64encode(RANDOM[:16]).decode(),
        RANDOM[:32].hex(),
        "*" * 43,
        base64.b64encode(RANDOM[:32]).decode() + "\n",
        "A" * 42 + "B",
    ],
)
def test_a_master_key_that_is_not_256_bits_is_refused(text: str) -> None:
    """A secret below 256 bits stops the start (CVE-2023-22463, CVE-2025-30206)."""
    with pytest.raises(ValueError, match="openssl rand -base64 32"):
        MasterKey.parse(text)


@pytest.mark.parametrize(
    "secret",
    [
        bytes(32),
        b"\xff" * 32,
        b"\x5a\xa5" * 16,
        bytes(range(32)),
        bytes(range(255, 223, -1)),
        b"this is my very own secret key!!",
        b"0123456789abcdef0123456789abcdef",
    ],
)
def test_a_placeholder_of_the_right_length_is_refused(secret: bytes) -> None:
    """A placeholder stops the start even where it has 256 bits (CVE-2026-44523)."""
    with pytest.raises(ValueError, match="placeholder"):
        MasterKey.parse(base64.b64encode(secret).decode())


@pytest.mark.parametrize(
    "text", ["change-me-change-me-change-me-change-me-chc", "ReplaceThisWithThirtyTwoRandomBytesInBase64A"[:43]]
)
def test_a_placeholder_that_happens_to_be_base64_is_refused(text: str) -> None:
    """What an example file says in words is no key, also where the words decode to 32 bytes (CVE-2026-44523)."""
    with pytest.raises(ValueError, match=r"placeholder|must be base64"):
        MasterKey.parse(text)


def test_a_refused_master_key_is_not_repeated_in_the_message() -> None:
    """A message never holds the value that was given (CVE-2024-8365)."""
    text = base64.b64encode(b"this is my very own secret key!!").decode()
    with pytest.raises(ValueError, match="placeholder") as refused:
        MasterKey.parse(text)
    assert text not in str(refused.value)
    assert "very own" not in str(refused.value)


def test_a_random_master_key_is_accepted() -> None:
    """The search for placeholders does not refuse what is random."""
    chance = random.Random(21)
    for _ in range(2000):
        MasterKey.parse(base64.b64encode(chance.randbytes(32)).decode())


def test_new_master_keys_are_usable_and_different() -> None:
    """Two fresh installs have different keys (CVE-2023-22463)."""
    keys = {MasterKey.parse(new_master_key()).key_id for _ in range(100)}
    assert len(keys) == 100


@given(st.binary(max_size=2000))
def test_what_is_sealed_opens_again(private_key: bytes) -> None:
    """Opening gives back exactly what was sealed, and two boxes of the same are never alike."""
    key = MasterKey(os.urandom(32))
    sealed, again = key.seal(KID, private_key), key.seal(KID, private_key)
    assert key.open(KID, sealed) == private_key
    assert sealed.box != again.box


def test_a_box_holds_nothing_in_clear() -> None:
    """A database dump contains no signing key in clear (CVE-2024-56362)."""
    secret = os.urandom(32)
    sealed = MasterKey(secret).seal(KID, PRIVATE)
    assert PRIVATE not in sealed.box
    assert secret not in sealed.box
    assert "box" not in repr(sealed)


@given(st.data())
def test_an_altered_box_does_not_open(data: st.DataObject) -> None:
    """Any change of any bit of a box is noticed."""
    key = MasterKey(b"\x01" * 32)
    sealed = key.seal(KID, PRIVATE)
    place = data.draw(st.integers(0, len(sealed.box) - 1))
    flipped = data.draw(st.integers(1, 255))
    box = bytes(byte ^ flipped if index == place else byte for index, byte in enumerate(sealed.box))
    with pytest.raises(MasterKeyUnusable):
        key.open(KID, SealedPrivateKey(sealed.master_key_id, box))


@given(st.integers(0, 44))
def test_a_truncated_box_does_not_open(length: int) -> None:
    """A box that was cut off is damage, not a crash."""
    key = MasterKey(b"\x01" * 32)
    sealed = key.seal(KID, PRIVATE)
    with pytest.raises(MasterKeyUnusable, match="keys revoke"):
        key.open(KID, SealedPrivateKey(sealed.master_key_id, sealed.box[:length]))


def test_a_box_belongs_to_its_kid() -> None:
    """A private key moved to another key's row does not open there."""
    key = MasterKey(os.urandom(32))
    with pytest.raises(MasterKeyUnusable, match="altered or damaged"):
        key.open("another", key.seal(KID, PRIVATE))


def test_a_wrong_master_key_says_what_to_do() -> None:
    """Another master key gives one message that names both ids and the ways out, and no secret."""
    former, present = MasterKey(os.urandom(32)), MasterKey(os.urandom(32))
    with pytest.raises(MasterKeyUnusable) as refused:
        MasterKeys(present).open(KID, former.seal(KID, PRIVATE))
    message = str(refused.value)
    assert former.key_id in message
    assert present.key_id in message
    assert "AUTH_MASTER_KEY" in message
    assert "keys reseal" in message
    assert f"keys revoke {KID} --lost-master-key" in message


def test_older_master_keys_open_and_the_current_one_seals() -> None:
    """While everything is sealed anew, the older master key stays readable."""
    older, current = MasterKey(os.urandom(32)), MasterKey(os.urandom(32))
    keys = MasterKeys(current, [older])
    sealed = older.seal(KID, PRIVATE)
    assert keys.open(KID, sealed) == PRIVATE
    anew = keys.reseal(KID, sealed)
    assert anew.master_key_id == current.key_id
    assert MasterKeys(current).open(KID, anew) == PRIVATE
    assert keys.reseal(KID, anew) is anew


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_first_start_makes_a_closed_file(tmp_path: Path, umask: int) -> None:
    """The file is 0600 and its folder 0700, whatever the umask; the next start finds the same key."""
    path = tmp_path / "var" / "auth" / "master.key"
    former = os.umask(umask)
    try:
        made = MasterKey.load_or_create(path)
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert MasterKey.load_or_create(path).key_id == made.key_id
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_a_master_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    """A file that others can read, restored from a backup say, stops the start and says what to run."""
    path = tmp_path / "master.key"
    MasterKey.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(MasterKeyUnusable, match=f"chmod 600 {path}"):
        MasterKey.load_or_create(path)


@pytest.mark.parametrize("content", [b"", b"AAAA", b"\xff\xfe\x00", b"A" * 43 + b"\n", b"k" * 20])
def test_a_damaged_master_key_file_is_noticed(tmp_path: Path, content: bytes) -> None:
    """A file without a whole key is never replaced by a new key: it stops the start with a clear message."""
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(MasterKeyUnusable, match="does not hold a master key"):
        MasterKey.load_or_create(path)
    assert path.read_bytes() == content


def test_a_folder_in_the_way_is_a_clear_message(tmp_path: Path) -> None:
    """What cannot be read is a message, not a stack trace."""
    path = tmp_path / "master.key"
    path.mkdir(0o700)
    with pytest.raises(MasterKeyUnusable, match="cannot be read or made"):
        MasterKey.load_or_create(path)


def _load(path: Path, results: multiprocessing.Queue[str]) -> None:
    results.put(MasterKey.load_or_create(path).key_id)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    """Of several first starts at once the first file to appear stays, and all use it."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    path = tmp_path / "var" / "master.key"
    starters = [context.Process(target=_load, args=(path, results)) for _ in range(4)]
    for starter in starters:
        starter.start()
    ids = {results.get(timeout=30) for _ in starters}
    for starter in starters:
        starter.join(timeout=30)
    assert len(ids) == 1
