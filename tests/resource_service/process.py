"""`python -m resource_service` as a real process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.wire import exchange

ROOT = Path(__file__).parents[2]
SECONDS = 60


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This process's environment, with the settings given and no others, and the data in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RESOURCE_")}
    given = {"DATABASE_URL": f"sqlite:///{folder}/resource.sqlite3", **settings}
    return {**inherited, "PYTHONPATH": str(ROOT), **{f"RESOURCE_{name}": value for name, value in given.items()}}


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "resource_service", *arguments],
        cwd=folder,
        env=environment(folder, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def serving(folder: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """The service, killed at the end when it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "resource_service", *arguments],
        cwd=folder,
        env=environment(folder, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(SECONDS, process.kill)
    killer.start()
    try:
        yield process
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


async def answering(port: int) -> None:
    """Wait until the issuer's keys are there."""
    async with asyncio.timeout(SECONDS):
        while (await exchange(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
