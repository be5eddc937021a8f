"""Settings from the environment, read once, all problems told at once.

A service declares a frozen `Settings` subclass whose fields are its settings; the environment variable is the
prefix and the field's name in capitals. `NAME_FILE` names a file that holds the value instead. Anything under
the prefix that is not a setting stops the start, and so does a value that is malformed or unsafe.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_FILE_BYTES = 65_536
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
NETLOC = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[1-9][0-9]*)?")
"""A host (its labels as RFC 1123 section 2.1 has them, and `_`, which containers use) and perhaps a port."""


class SettingsError(Exception):
    """The settings do not allow a start; the text names every problem, a line each, and no value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["cannot start, these settings need a look:", *(f"  - {p}" for p in problems)]))
        self.problems = problems


class Settings(BaseModel):
    """The base of a service's settings. Lists and objects are given as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    prefix: ClassVar[str]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from `environ`; raise SettingsError naming every problem."""
        values, problems = cls._collect(environ)
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            details = error.errors(include_input=False, include_url=False)
            # A default built from a setting that is bad: the bad one has a line of its own.
            problems += [cls._describe(each) for each in details if each["type"] != "default_factory_not_called"]
        else:
            if not problems:
                return settings
        raise SettingsError(sorted(set(problems)))

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field."""
        return f"{cls.prefix}{field.upper()}"

    @classmethod
    def _collect(cls, environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
        fields = {cls.variable(name): name for name in cls.model_fields}
        values: dict[str, Any] = {}
        problems: list[str] = []
        given: set[str] = set()
        for variable in sorted(name for name in environ if name.startswith(cls.prefix)):
            target = variable.removesuffix("_FILE") if variable not in fields else variable
            field = fields.get(target)
            if field is None:
                problems.append(f"{variable}: there is no such setting")
            elif field in given:
                problems.append(f"{target}: is given twice, by value and as {target}_FILE")
            else:
                given.add(field)
                try:
                    text = environ[variable] if variable == target else _read_file(environ[variable])
                    values[field] = cls._parse(field, text)
                except ValueError as error:
                    problems.append(f"{variable}: {error}")
        return values, problems

    @classmethod
    def _parse(cls, field: str, text: str) -> Any:
        if not _is_container(cls.model_fields[field].annotation):
            return text
        try:
            return json.loads(text, object_pairs_hook=_unique_members)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError("must be JSON") from None

    @classmethod
    def _describe(cls, details: Any) -> str:
        location = [str(part) for part in details["loc"]]
        variable = cls.variable(location[0]) if location else cls.prefix.rstrip("_")
        inner = f" (at {'.'.join(location[1:])})" if location[1:] else ""
        message = str(details["msg"]).removeprefix("Value error, ")
        return f"{variable}{inner}: {message[:1].lower()}{message[1:]}"


def _is_container(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_container(choice) for choice in get_args(annotation))
    return get_origin(annotation) in (list, tuple, dict, set, frozenset)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("must not name a member twice")
    return members


def _read_file(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file it names cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the file it names is larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("the file it names is not UTF-8 text") from None


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine: `localhost` or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str, *, plain_http_hosts: tuple[str, ...] = (), allow_path: bool = True) -> str:
    """Return `url` when it is an absolute https URL (http only for loopback or the named hosts), or raise ValueError.

    No user information, no query, no fragment (RFC 8414 section 2, RFC 9728 section 1.2): identifiers are compared
    character by character, so what has two spellings is refused.
    """
    if not url.isascii() or any(character <= " " or character in '"<>\\^`{|}\x7f' for character in url):
        raise ValueError("must be an absolute URL in ASCII")
    if not url.startswith(("https://", "http://")):
        raise ValueError("must be an absolute https URL")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:  # its text would show the value
        raise ValueError("has an impossible host or port") from None
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("must not carry user information, a query or a fragment")
    if parts.netloc != parts.netloc.lower():
        raise ValueError("must spell the host in lower case")
    if not NETLOC.fullmatch(parts.netloc) or port == 0:
        raise ValueError("has an impossible host or port")
    if parts.scheme == "http" and not is_loopback(host) and host not in plain_http_hosts:
        raise ValueError("must be https: http is accepted for loopback and for the hosts in PLAIN_HTTP_HOSTS only")
    if parts.path and not allow_path:
        raise ValueError("must not have a path")
    return url


Port = Annotated[int, Field(ge=1, le=65_535)]
