"""`.env.example` is where the settings are explained: every one of both services, with its default."""

from __future__ import annotations

import re
import shlex

import pytest

from auth_service.settings import AuthSettings
from resource_service.settings import ResourceSettings
from shared.settings import Settings
from tests.architecture.tree import ROOT

SERVICES: tuple[type[Settings], ...] = (AuthSettings, ResourceSettings)
WITHOUT_ONE_DEFAULT = {"AUTH_PASSWORD_THREADS"}
"""Their default depends on the machine; the line has no value, and the words above it say what it is."""


def documented() -> dict[str, tuple[str, str]]:
    """Each setting of `.env.example`: its value, and the comment that stands above it."""
    found, comment = {}, ""
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        setting = re.fullmatch(r"#([A-Z][A-Z_]+)=(.*)", line)
        if setting:
            found[setting[1]] = "".join(shlex.split(setting[2])), comment
            comment = ""
        else:
            comment = comment + line.removeprefix("# ") if line.startswith("# ") else ""
    return found


@pytest.mark.parametrize("settings", SERVICES)
def test_every_setting_is_documented(settings: type[Settings]) -> None:
    """A setting that exists stands in `.env.example` with some words, and nothing stands there that does not exist."""
    wanted = {settings.variable(field) for field in settings.names()}
    written = {name: comment for name, (_, comment) in documented().items() if name.startswith(settings.prefix)}
    assert written.keys() == wanted
    assert all(len(comment) > 20 for comment in written.values())


@pytest.mark.parametrize("settings", SERVICES)
def test_the_documented_value_is_the_default(settings: type[Settings]) -> None:
    """Taking over a line of `.env.example` as it stands changes nothing."""
    defaults = settings.load({})
    for field in settings.names():
        name = settings.variable(field)
        value, _ = documented()[name]
        default = getattr(defaults, field)
        if value == "":
            assert default in (None, "", ()) or name in WITHOUT_ONE_DEFAULT, name
        else:
            taken_over = getattr(settings.load({name: value}), field)
            assert taken_over == default, name
