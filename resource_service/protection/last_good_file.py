"""The newest good key set on disk, so that a service can start while its issuer is down.

It is written whole, readable by this user alone, and is believed only as long as a set in memory would be.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from shared.private_files import write_private_file
from shared.strict_json import strict_json_loads

log = structlog.get_logger(__name__)

MAX_FILE_BYTES: Final = 131_072
"""Twice the largest key set: JSON may escape its characters."""
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class LastGood:
    """A key set's own text, and when it was last known to hold (seconds since the epoch)."""

    body: bytes
    confirmed_at: float


class LastGoodFile:
    """Keeps the last good key set of one issuer; a file that fails costs a warning and nothing else."""

    def __init__(self, path: Path, issuer: str) -> None:
        self._path = path
        self._issuer = issuer

    async def load(self) -> LastGood | None:
        """What was kept; None when there is nothing, or nothing that may be believed."""
        try:
            return await asyncio.to_thread(self._read)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("last_good_file_not_used", issuer=self._issuer, cause=type(error).__name__)
            return None

    async def save(self, last_good: LastGood) -> None:
        """Replace what was kept."""
        content = json.dumps(
            {"issuer": self._issuer, "confirmed_at": last_good.confirmed_at, "body": last_good.body.decode("utf-8")}
        ).encode()
        try:
            await asyncio.to_thread(write_private_file, self._path, content, replace=True)
        except OSError as error:
            log.warning("last_good_file_not_written", issuer=self._issuer, cause=type(error).__name__)

    def _read(self) -> LastGood | None:
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & WRITABLE_BY_OTHERS:
                raise ValueError("others may write it")
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError("too large")
        kept = strict_json_loads(content)
        if kept["issuer"] != self._issuer:
            raise ValueError("another issuer's")
        body, confirmed_at = kept["body"], kept["confirmed_at"]
        if not isinstance(body, str) or not isinstance(confirmed_at, int | float):
            raise TypeError("not of this form")
        return LastGood(body.encode("utf-8"), confirmed_at)
