"""Load that needs the answers it gets: as much as is answered (closed loop), or at a fixed rate (open loop)."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

_content_length = re.compile(rb"(?i)\r\ncontent-length: (\d+)").search


class Connection:
    """One connection that is kept; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _content_length(head)
        return int(head[9:12]), await self._reader.readexactly(int(length[1]) if length else 0)

    def close(self) -> None:
        self._writer.close()


Step = Callable[[Connection, int], Awaitable[int]]
"""One exchange by the worker of this number; returns the status."""


@dataclass(slots=True)
class Tally:
    """What came back, and how long each exchange took, in seconds."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers of 200 a second."""
        return self.statuses[200] / self.seconds

    @property
    def p99_milliseconds(self) -> float:
        return statistics.quantiles(self.latencies, n=100)[98] * 1_000

    def note(self, status: int, begun: float) -> None:
        self.statuses[status] += 1
        self.latencies.append(time.perf_counter() - begun)


async def closed_loop(port: int, workers: int, seconds: float, step: Step) -> Tally:
    """`workers` that send the next request when the last was answered."""
    tally = Tally(seconds)
    until = time.perf_counter() + seconds

    async def work(number: int) -> None:
        connection = await Connection.open(port)
        while (begun := time.perf_counter()) < until:
            tally.note(await step(connection, number), begun)
        connection.close()

    await asyncio.gather(*(work(number) for number in range(workers)))
    return tally


async def open_loop(port: int, rate: float, seconds: float, step: Step) -> Tally:
    """`rate` requests a second whatever comes back; each counts from the instant at which it was due."""
    tally, idle = Tally(seconds), list[Connection]()
    started = time.perf_counter()

    async def once(number: int) -> None:
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = idle.pop() if idle else await Connection.open(port)
        tally.note(await step(connection, number), due)
        idle.append(connection)

    await asyncio.gather(*(once(number) for number in range(int(rate * seconds))))
    for connection in idle:
        connection.close()
    return tally
