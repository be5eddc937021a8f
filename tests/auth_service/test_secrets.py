"""Canaries: no secret that a service was given, or gave out, is found again in what it writes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from sqlalchemy import MetaData, select

from auth_service.app import master_keys, open_auth_service
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from shared.database import Database
from tests.auth_service.endpoints.state import make_link
from tests.auth_service.process import Serving, serving
from tests.auth_service.running import (
    EACH_DATABASE,
    AuthClient,
    Tokens,
    assert_well_formed,
    client_session,
    in_database,
)
from tests.clock import FrozenClock
from tests.wire import exchange

CANARY = "canary4711"
PASSWORD = f"{CANARY} is the password"
NEW_PASSWORD = f"{CANARY} is the next one"
WRONG = f"{CANARY} is a wrong one"
RSA_OID = bytes.fromhex("2a864886f70d010101")
"""rsaEncryption (RFC 8017 appendix C), which every RSA key in DER carries."""


class Secrets:
    """What was sent and given out, and must not turn up."""

    def __init__(self) -> None:
        self.texts = {CANARY}

    def add(self, tokens: Tokens) -> Tokens:
        self.texts |= {tokens.refresh_token, tokens.access_token, tokens.access_token.split(".")[2]}
        return tokens

    def raw(self) -> Iterator[bytes]:
        """Every spelling that a text may be stored in, and the parts of a token."""
        for text in self.texts:
            yield text.encode()
            yield text.encode().hex().encode()
            yield base64.b64encode(text.encode())
            if text.startswith(("signet_refresh_", "signet_link_")):
                token = base64.urlsafe_b64decode(text.split("_", 2)[2] + "=")
                for part in (token, token[:16], token[16:]):
                    yield part
                    yield part.hex().encode()
                    yield base64.b64encode(part).rstrip(b"=")
                    yield base64.urlsafe_b64encode(part).rstrip(b"=")


def find(secrets: Iterable[bytes], content: bytes) -> list[bytes]:
    return [secret for secret in secrets if secret in content]


async def walk(auth: AuthClient, secrets: Secrets) -> None:
    """Use every endpoint with canaries, rightly and wrongly."""
    await auth.register("alice", PASSWORD)
    tokens = secrets.add(await auth.login("alice", PASSWORD))
    other = secrets.add(await auth.login("alice", PASSWORD))
    await wrongly(auth, tokens)
    renewed = secrets.add(await auth.refreshed(tokens.refresh_token))
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await auth.post("/password", change, token=renewed.access_token)).status == 204
    assert (await auth.refresh(other.refresh_token)).status == 400
    again = secrets.add(await auth.refreshed(renewed.refresh_token))
    assert (await auth.refresh(tokens.refresh_token)).status == 400  # a copy: that ends the session
    secrets.add(last := await auth.login("alice", NEW_PASSWORD))
    assert (await auth.get("/sessions", token=again.access_token)).status == 401
    assert (await auth.post("/logout", {"refresh_token": last.refresh_token})).status == 204


async def walk_by_link(auth: AuthClient, settings: AuthSettings, secrets: Secrets) -> None:
    """Use a password link with canaries, rightly and wrongly."""
    token = await make_link(settings, "alice", at=auth.clock.now())
    secrets.texts.add(token)
    page = f"/set-password?token={token}"
    for method, path in (("GET", page), ("HEAD", page), ("PUT", page), ("GET", f"{page}x"), ("GET", f"/{token}")):
        await auth.call(method, path, headers={"Accept": "text/html", "Referer": f"{settings.issuer}{page}"})
    for new, again, status in (
        (CANARY[:7], CANARY[:7], 400),
        (WRONG, NEW_PASSWORD, 400),
        (f"{NEW_PASSWORD}, by link", f"{NEW_PASSWORD}, by link", 303),
        (WRONG, WRONG, 404),
    ):
        form = urlencode({"token": token, "new_password": new, "repeated_password": again})
        assert (await auth.post_form("/set-password", form)).status == status
    await auth.post("/set-password", {"token": token, "new_password": WRONG})


async def wrongly(auth: AuthClient, tokens: Tokens) -> None:
    """What is refused: in bodies, headers, queries, paths and forms."""
    access, refresh = tokens.access_token, tokens.refresh_token
    await auth.post("/register", {"username": "bob", "password": CANARY[:7], "email": f"{CANARY}@example.org"})
    await auth.post("/register", {"username": "alice", "password": WRONG, CANARY: CANARY})
    await auth.post("/register", {"username": "alice", "password": WRONG})
    for name in ("alice", PASSWORD, f"no {CANARY}", refresh):
        await auth.post("/login", {"username": name, "password": WRONG})
    await auth.post("/login", f'{{"password": "{PASSWORD}", broken'.encode())
    await auth.post("/login", {"username": {"$ne": CANARY}, "password": [PASSWORD]})
    await auth.post("/password", {"current_password": WRONG, "new_password": PASSWORD}, token=access)
    await auth.post("/password", {"current_password": PASSWORD, "new_password": CANARY[:7]}, token=access)
    for path in (f"/sessions?access_token={access}", f"/{CANARY}/{refresh}", f"/login?password={CANARY}"):
        await auth.get(path)
    await auth.call("DELETE", f"/sessions/{CANARY}", token=access)
    for form in (
        {"grant_type": CANARY},
        {"refresh_token": refresh + "x"},
        {"client_secret": CANARY},
        {"scope": CANARY},
    ):
        await auth.post_form("/token", {"grant_type": "refresh_token", "refresh_token": refresh, **form})
    basic = base64.b64encode(f"first-party:{CANARY}".encode()).decode()
    for authorization in (
        f"Basic {basic}",
        f"Bearer {access}x",
        f"Bearer {CANARY}",
        f"Bearer {refresh}",
        f"X {access}",
    ):
        await auth.post("/token", None, Authorization=authorization)
        await auth.get("/sessions", headers={"Authorization": authorization})
    for field in ("Cookie", "X-Api-Key", "User-Agent", "X-Request-ID", "X-Forwarded-For", "If-None-Match", "Origin"):
        await auth.get("/sessions", headers={field: access})
        await auth.post("/login", {"username": "alice", "password": WRONG}, **{field: refresh})
    for head in (
        f"GET /{access} HTTP/1.1\r\nno header {CANARY}\r\n",
        f"{CANARY} / HTTP/9\r\n",
        f"GET /{CANARY}\x01 x\r\n",
    ):
        assert_well_formed(await exchange(auth.port, f"{head}\r\n".encode()))


@EACH_DATABASE
async def test_a_dump_of_the_database_holds_nothing_that_can_be_used(
    auth: AuthClient, auth_settings: AuthSettings
) -> None:
    """Hostile cases, Storage, CVE-2024-56362: every value of every table, after every endpoint was used: no password,
    no token nor a part of one in any spelling, no private key."""
    secrets = Secrets()
    await walk(auth, secrets)
    await walk_by_link(auth, auth_settings, secrets)
    rows = await asyncio.to_thread(dump, auth_settings)
    values = [value for row in rows for value in row.values()]
    content = b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
    assert b"alice" in content
    assert find([*secrets.raw(), *await private_keys(auth_settings)], content) == []
    for word in ("PRIVATE KEY", CANARY, "Bearer"):
        assert word.encode() not in content


def dump(settings: AuthSettings) -> list[dict[str, object]]:
    """Every row of every table."""
    database = Database.open(settings.database_url.reveal())
    tables = MetaData()
    try:
        with database.engine.connect() as connection:
            tables.reflect(connection)
            return [
                dict(row) for table in tables.tables.values() for row in connection.execute(select(table)).mappings()
            ]
    finally:
        database.engine.dispose()


async def private_keys(settings: AuthSettings) -> list[bytes]:
    """The secret numbers of every stored signing key, and how DER begins."""
    opener = await asyncio.to_thread(master_keys, settings)
    published = await in_database(settings, lambda records: list(records.signing_keys.published()))
    found = [RSA_OID]
    for record in published:
        assert record.sealed is not None
        key = load_der_private_key(opener.open(record.kid, record.sealed), password=None)
        assert isinstance(key, RSAPrivateKey)
        numbers = key.private_numbers()
        secret_numbers = (numbers.p, numbers.q, numbers.d)
        found += [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in secret_numbers]
    return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Serving]:
    """A real process that logs all it can."""
    with serving(tmp_path / "data", LOG_LEVEL="debug", ACCESS_LOG="true") as running:
        yield running


async def test_nothing_that_a_process_writes_holds_a_secret(service: Serving) -> None:
    """Hostile cases, Admin and secrets, CVE-2024-8365 and its kin: after every endpoint was used and misused, neither
    log, metrics, ready line, command line nor any file but the master key's holds a canary."""
    secrets = Secrets()
    settings = AuthSettings.load({"AUTH_DATABASE_URL": f"sqlite:///{service.folder}/auth.sqlite3"})
    async with client_session() as http:
        auth = AuthClient(http, service.port, service.metrics_port, FrozenClock())
        await walk(auth, secrets)
        await walk_by_link(auth, settings, secrets)
        metrics = await auth.metrics()
    command_line = Path(f"/proc/{service.process.pid}/cmdline").read_bytes()
    running_files = stored(service.folder)
    assert service.stop() == 0
    raw = [*secrets.raw(), *await private_keys(settings)]
    for content in (running_files, stored(service.folder), command_line, metrics.encode()):
        assert find(raw, content) == []
    assert find(raw, (service.errors + service.output).encode()) == []
    lines = [json.loads(line) for line in service.errors.splitlines()]
    assert {"request", "sign_in_refused", "session_opened", "refresh_token_reused", "malformed_request"} <= {
        line["event"] for line in lines
    }
    assert not [line for line in lines if line.get("level") in ("error", "critical")]


def stored(folder: Path) -> bytes:
    """All that is in the folder, the database's own log too; but the master key's file, which is the secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"auth.sqlite3", "master.key"}
    master_key = (folder / "master.key").read_bytes().strip()
    content = b"".join(path.read_bytes() for path in files if path.name != "master.key")
    assert find([master_key, base64.urlsafe_b64decode(master_key + b"=")], content) == []
    return content


def test_what_this_test_looks_for_would_be_found() -> None:
    """The spellings that a secret is searched in: as text, as hex, as base64, and a token's parts."""
    refresh_token = "signet_refresh_" + base64.urlsafe_b64encode(hashlib.sha384(b"x").digest()).decode()
    secrets = Secrets()
    secrets.texts.add(refresh_token)
    secret = hashlib.sha384(b"x").digest()[16:]
    for spelling in (secret, secret.hex().encode(), base64.b64encode(secret), refresh_token.encode()):
        assert find(secrets.raw(), b"before" + spelling + b"after")


async def test_two_fresh_installs_share_no_secret(tmp_path: Path) -> None:
    """Hostile cases, CVE-2023-22463: master key, signing key and the hash of one and the same password differ."""
    found = []
    for name in ("first", "second"):
        folder = tmp_path / name
        settings = AuthSettings.load({"AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.sqlite3"})
        async with open_auth_service(settings, FrozenClock()):
            pass

        def kids(records: Records) -> list[str]:
            return [record.kid for record in records.signing_keys.published()]

        found.append((await in_database(settings, kids), (folder / "master.key").read_bytes()))
    (first_kids, first_master), (second_kids, second_master) = found
    assert set(first_kids).isdisjoint(second_kids)
    assert first_master != second_master
