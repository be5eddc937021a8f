"""Settings from the environment, read once, all problems told at once.

A service declares a frozen `Settings` subclass whose fields are its settings; the environment variable is the
prefix and the field's name in capitals. `NAME_FILE` names a file that holds the value instead. Anything under
the prefix that is not a setting stops the start, and so does a value that is malformed or unsafe.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import FieldInfo

MAX_FILE_BYTES = 65_536
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
NETLOC = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[1-9][0-9]*)?")
"""A host (its labels as RFC 1123 section 2.1 has them, and `_`, which containers use) and perhaps a port."""


class SettingsError(Exception):
    """The settings do not allow a start; the text names every problem, a line each, and no value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["cannot start, these settings need a look:", *(f"  - {p}" for p in problems)]))
        self.problems = problems


class Secret:
    """A setting that stays out of reprs, and so out of logs and error messages."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


Check = Callable[[Any, Mapping[str, Any]], Any]
"""Takes a setting's value and the good settings before it; returns the value to use, or raises ValueError."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The base of a service's settings: a field for each, in the order in which they are checked.

    Lists and objects are given as JSON. `checks` hold what a type cannot say. `derived` are the defaults that
    follow from settings before them; such a field has no default of its own.
    """

    prefix: ClassVar[str]
    checks: ClassVar[Mapping[str, Check]] = {}
    derived: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {}

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from `environ`; raise SettingsError naming every problem."""
        texts, problems = cls._collect(environ)
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(cls):
            try:
                values[field.name] = cls._value(field, texts, values)
            except KeyError:
                continue  # it, or one that it follows from, has a line already
            except ValueError as error:
                problems.append(f"{cls.variable(field.name)}: {_told(error, field.type)}")
        if problems:
            raise SettingsError(sorted(set(problems)))
        return cls(**values)

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field."""
        return f"{cls.prefix}{field.upper()}"

    @classmethod
    def names(cls) -> list[str]:
        """The fields, in their order."""
        return [field.name for field in msgspec.structs.fields(cls)]

    @classmethod
    def _collect(cls, environ: Mapping[str, str]) -> tuple[dict[str, str | None], list[str]]:
        """The text of each setting that is given, None where its file cannot be read, and what is wrong so far."""
        fields = {cls.variable(name): name for name in cls.names()}
        texts: dict[str, str | None] = {}
        problems: list[str] = []
        for variable in sorted(name for name in environ if name.startswith(cls.prefix)):
            target = variable.removesuffix("_FILE") if variable not in fields else variable
            field = fields.get(target)
            if field is None:
                problems.append(f"{variable}: there is no such setting{_perhaps(variable, fields)}")
            elif field in texts:
                problems.append(f"{target}: is given twice, by value and as {target}_FILE")
            else:
                texts[field] = None
                try:
                    texts[field] = environ[variable] if variable == target else _read_file(environ[variable])
                except ValueError as error:
                    problems.append(f"{variable}: {error}")
        return texts, problems

    @classmethod
    def _value(cls, field: FieldInfo, texts: Mapping[str, str | None], values: Mapping[str, Any]) -> Any:
        if field.name in texts:
            text = texts[field.name]
            if text is None:
                raise KeyError(field.name)
            value = _convert(text, field.type)
        elif field.name in cls.derived:
            value = cls.derived[field.name](values)
        else:
            value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        check = cls.checks.get(field.name)
        return value if check is None else check(value, values)


def _convert(text: str, annotation: Any) -> Any:
    value: Any = text
    if _is_container(annotation):
        try:
            value = json.loads(text, object_pairs_hook=_unique_members)
        except (json.JSONDecodeError, RecursionError):
            raise ValueError(f"must be JSON, such as {_example(annotation)}") from None
    # Not strict: the environment is text, and "8001" is how it spells a number.
    return msgspec.convert(value, annotation, strict=False, dec_hook=_own_type)


def _example(annotation: Any) -> str:
    return '{"a": ["b"]}' if get_origin(annotation) is dict else '["a", "b"]'


def _perhaps(variable: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # only for who has mistyped something

    near = get_close_matches(variable, known, n=1, cutoff=0.85)
    return f"; did you mean {near[0]}?" if near else ""


def _own_type(wanted: type, value: object) -> object:
    if wanted in (Secret, Path) and isinstance(value, str):
        return wanted(value)
    raise ValueError("must be text")


def _told(error: ValueError, annotation: Any) -> str:
    """What is wrong, without the value and without the names inside it."""
    text = str(error)
    if text.startswith("Invalid enum value"):
        return f"must be one of {', '.join(str(choice) for choice in _choices(annotation))}"
    if text.startswith("Object contains unknown field"):
        return "has a member that does not belong there"
    for kind, words in _KINDS.items():
        if text.startswith(f"Expected `{kind}`"):
            bound = text.removeprefix(f"Expected `{kind}`")
            return f"must be {words}" if bound.startswith(", got") else f"must be {words}{bound}"
    return text[:1].lower() + text[1:]


_KINDS = {"int": "a whole number", "bool": "true or false", "array": "a JSON list", "object": "a JSON object"}
"""How msgspec calls them, and how people do."""


def _choices(annotation: Any) -> Iterator[object]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)


def _is_container(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType, Annotated):
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


Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
