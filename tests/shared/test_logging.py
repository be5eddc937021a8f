"""Log lines: one JSON object each, marked with where they are from, never with a secret in them."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.logging import MASK, PacedLines, configure_logging, redact_text, request_id
from tests.clock import FrozenClock

CANARY = "canaryQ7xW2"
HEADER = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9"
JWT = f"{HEADER}.eyJzdWIiOiJ{CANARY}.c2lnbmF0dXJl{CANARY}"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Logging as a service configures it; calling it gives the lines written so far."""
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("sample", level="debug", clock=FrozenClock())
    return lambda: [json.loads(line) for line in written.getvalue().split("\n") if line]


def test_a_line_is_a_json_object_with_its_origin(lines: Lines) -> None:
    """A line says what happened, when, where and how bad it is."""
    structlog.get_logger().warning("account_locked", sub="a1")
    assert lines() == [
        {"event": "account_locked", "sub": "a1", "level": "warning", "service": "sample", "time": 1_800_000_000.0}
    ]


async def test_a_line_carries_the_id_of_its_request(lines: Lines) -> None:
    """Whatever is logged while a request is answered carries that request's id, and no other's."""

    async def answer(name: str) -> None:
        request_id.set(name)
        await asyncio.sleep(0)
        structlog.get_logger().info("answered", name=name)

    await asyncio.gather(answer("first"), answer("second"))
    structlog.get_logger().info("outside")
    assert [(line["event"], line.get("request_id"), line.get("name")) for line in lines()] == [
        ("answered", "first", "first"),
        ("answered", "second", "second"),
        ("outside", None, None),
    ]


def test_a_line_break_in_a_value_makes_no_second_line(lines: Lines) -> None:
    """What a caller sent cannot forge a line of its own."""
    structlog.get_logger().info("odd", agent='x"}\n{"event":"forged"}\r\n\u2028')
    assert [line["event"] for line in lines()] == ["odd"]


def test_levels_below_the_configured_one_are_not_written(lines: Lines) -> None:
    """The level of the setting holds; the libraries' chatter below a warning is never written."""
    logging.getLogger("aiohttp.server").info("chatter")
    with redirect_stderr(StringIO()) as written:
        configure_logging("sample", level="error")
        structlog.get_logger().info("quiet")
        logging.getLogger("aiohttp.server").warning("quiet too")
        structlog.get_logger().error("heard")
    assert lines() == []
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["heard"]


def test_the_libraries_loggers_write_the_same_lines(lines: Lines) -> None:
    """A line of a library is JSON with the same members, and is redacted just the same."""
    logging.getLogger("aiohttp.server").warning("bad token %s from %s", JWT, "10.0.0.1")
    (line,) = lines()
    assert (line["logger"], line["service"], line["level"]) == ("aiohttp.server", "sample", "warning")
    assert line["event"] == f"bad token {MASK} from 10.0.0.1"


def test_warnings_are_lines_too(lines: Lines) -> None:
    """A Python warning does not break the stream of JSON lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(f"odd password Bearer {CANARY}abc", UserWarning, "file.py", 1)
    (line,) = lines()
    assert CANARY not in json.dumps(line)


@pytest.mark.parametrize(
    "event",
    [
        {"password": CANARY},
        {"new_password": CANARY},
        {"PASSWORD": CANARY},
        {"access_token": CANARY},
        {"refresh_token": CANARY},
        {"client_secret": CANARY},
        {"Authorization": CANARY},
        {"cookie": CANARY},
        {"Set-Cookie": CANARY},
        {"credentials": [CANARY]},
        {"client_assertion": CANARY},
        {"private_key": CANARY},
        {"api_key": CANARY},
        {"apikey": CANARY},
        {"DPoP": CANARY},
        {"code": {"password": CANARY}},
        {"body": [{"inner": ({"token": CANARY},)}]},
        {"headers": {"Authorization": f"Bearer {CANARY}"}},
        {"header": f"Bearer {CANARY}abc"},
        {"header": f"bearer  {CANARY}abc"},
        {"header": f"JWT {CANARY}abc"},
        {"header": f"Basic {CANARY}abc=="},
        {"header": b"Basic " + CANARY.encode() + b"abc=="},
        {"text": f"what came was {JWT}, and more"},
        {"text": JWT + "." + CANARY + "." + CANARY},
        {"text": f"signet_rt_{CANARY}"},
        {"url": f"postgresql://user:{CANARY}@host/db"},
        {"url": f"postgresql://user:a/{CANARY}@host/db"},
        {"url": f"https://x.example/cb?code=1&access_token={CANARY}&state=2"},
        {"url": f"https://x.example/cb#id_token={CANARY}"},
        {"text": f'{{"password": "{CANARY}"}}'},
        {"text": f"password={CANARY}"},
        {"items": {"secret": {CANARY: 1}}},
        {"token_hash": CANARY},
        {"value": frozenset({f"Bearer {CANARY}abc"})},
    ],
)
def test_no_line_holds_a_secret(lines: Lines, event: dict[str, Any]) -> None:
    """Hostile cases, "plant canaries, grep everything": named or recognisable secrets are masked at any depth."""
    structlog.get_logger().info("planted", **event)
    text = json.dumps(lines())
    assert CANARY not in text
    assert MASK in text


def test_a_traceback_is_redacted_too(lines: Lines) -> None:
    """The text of an exception is running text like any other."""
    try:
        raise ValueError(f"cannot use Bearer {CANARY}abc or {JWT}")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("aiohttp.server").exception("failed")
    text = json.dumps(lines())
    assert CANARY not in text
    assert text.count("Traceback") == 2


def test_an_object_is_redacted_in_the_form_it_is_written(lines: Lines) -> None:
    """A value that is no JSON is written by its repr, and that is running text as well."""

    class Odd:
        def __repr__(self) -> str:
            return f"<Odd Bearer {CANARY}abc>"

    structlog.get_logger().info("planted", thing=Odd(), error=ValueError(f"Bearer {CANARY}abc"), nested=[Odd()])
    assert CANARY not in json.dumps(lines())


def test_harmless_neighbours_of_secrets_are_readable(lines: Lines) -> None:
    """What identifies without authorizing stays, or nobody could find anything."""
    event = {"token_id": "t1", "token_type": "Bearer", "sub": "a1", "client_id": "first-party", "route": "/token"}
    structlog.get_logger().info("issued", **event)
    (line,) = lines()
    assert {name: line[name] for name in event} == event


def test_what_cannot_be_encoded_is_still_a_line(lines: Lines) -> None:
    """A lone surrogate or bytes that are no text do not lose the line."""
    structlog.get_logger().info("odd", path="/\udcff", raw=b"\xff")
    assert lines()[0]["event"] == "odd"


def test_a_log_that_cannot_be_written_stops_nothing(lines: Lines) -> None:
    """Hostile cases, Storage, "disk full": a log on a full disk does not become the answer to a request."""

    class FullDisk(StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with redirect_stderr(FullDisk()):
        configure_logging("sample")
        structlog.get_logger().error("lost")


@given(st.text(alphabet="abcXYZ019._~-+/= :@{}\"',;\n"))
def test_plain_text_passes_unless_it_looks_like_a_credential(text: str) -> None:
    """Masking twice is masking once."""
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize("piece", ["eyJ", "eyJa.", "Bearer ", "://", "signet_a_", "a:", "bearer bearer ", "password="])
def test_masking_long_hostile_text_takes_little_time(piece: str) -> None:
    """A text made to make the patterns backtrack costs no more than its length: milliseconds, not minutes."""
    begun = time.thread_time()
    redact_text(piece * 20_000)
    assert time.thread_time() - begun < 1


def test_of_many_lines_of_a_kind_one_is_said_each_second() -> None:
    """The next one tells how many were left out; other kinds are not held back by it."""
    paced = PacedLines()
    assert paced.left_out("busy", 100.0) == 0
    assert [paced.left_out("busy", 100.0 + number / 10) for number in range(10)] == [None] * 10
    assert paced.left_out("other", 100.5) == 0
    assert paced.left_out("busy", 101.0) == 10
    assert paced.left_out("busy", 101.5) is None
    assert paced.left_out("busy", 110.0) == 1
