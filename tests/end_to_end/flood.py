"""A flood of tokens with random key ids, from a process of its own.

`python -m tests.end_to_end.flood PORT ISSUER AUDIENCE RATE SECONDS` sends RATE requests a second whatever comes
back, and prints how many were answered with which status, as JSON. All but the key id and the signature of the
tokens is plausible, so that they come as far as a token can that nobody signed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import secrets
import sys
import time
from collections import Counter, deque

LOAD_CORE = 1
TICK_SECONDS = 0.005
MAX_CONNECTIONS = 900
"""More than may wait for a fetch at a time."""
CLOSING_SECONDS = 5.0
_content_length = re.compile(rb"(?i)\r\ncontent-length: (\d+)").search


class Connection(asyncio.Protocol):
    """One request at a time; back among the idle ones when it was answered."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = _content_length(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        self._flood.answered(int(head[9:12]), self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._flood.lost(self)


class Flood:
    """Sends at a steady rate, on as many connections as are needed."""

    def __init__(self, port: int, issuer: str, audience: str) -> None:
        self._port = port
        now = int(time.time())
        claims = {"iss": issuer, "aud": audience, "sub": "nobody", "client_id": "flood", "jti": "one"}
        self._payload = _segment({**claims, "iat": now, "exp": now + 300, "scope": "data:read"})
        self._statuses: Counter[str] = Counter({"not sent": 0})
        self._idle: deque[Connection] = deque()
        self._open = 0

    async def run(self, rate: int, seconds: float) -> Counter[str]:
        started, sent = time.monotonic(), 0
        while (spent := time.monotonic() - started) < seconds:
            for _ in range(int(spent * rate) - sent):
                await self._send()
                sent += 1
            await asyncio.sleep(TICK_SECONDS)
        while self._open > len(self._idle) and time.monotonic() < started + seconds + CLOSING_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(TICK_SECONDS)
        self._statuses["unanswered"] = sent - sum(self._statuses.values())
        return self._statuses

    def answered(self, status: int, connection: Connection) -> None:
        self._statuses[str(status)] += 1
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    async def _send(self) -> None:
        if not self._idle:
            if self._open >= MAX_CONNECTIONS:
                self._statuses["not sent"] += 1
                return
            self._open += 1
            loop = asyncio.get_running_loop()
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
            self._idle.append(made)
        connection = self._idle.popleft()
        assert connection.transport is not None
        connection.transport.write(
            b"GET /userData HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + self._token() + b"\r\n\r\n"
        )

    def _token(self) -> bytes:
        header = _segment({"alg": "RS256", "typ": "at+jwt", "kid": secrets.token_urlsafe(32)})
        return b".".join((header, self._payload, base64.urlsafe_b64encode(secrets.token_bytes(256)).rstrip(b"=")))


def _segment(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def main(arguments: list[str]) -> None:
    port, issuer, audience, rate, seconds = arguments
    if LOAD_CORE in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {LOAD_CORE})
    print(json.dumps(asyncio.run(Flood(int(port), issuer, audience).run(int(rate), float(seconds)))))


if __name__ == "__main__":
    main(sys.argv[1:])
