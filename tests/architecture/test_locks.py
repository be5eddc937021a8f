"""The lock files: one resolution, hashes for everything, no address."""

from __future__ import annotations

import re
import tomllib
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import ROOT

LOCKS = ("dev", "auth", "resource")


def read_lock(name: str) -> dict[str, tuple[Requirement, frozenset[str]]]:
    """A lock's pins by package name, each with its hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    pins: dict[str, tuple[Requirement, frozenset[str]]] = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        requirement_text, *hashes = re.split(r"\s--hash=", line)
        requirement = Requirement(requirement_text)
        pins[canonicalize_name(requirement.name)] = requirement, frozenset(word.strip() for word in hashes)
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_each_pin_is_exact_and_hashed(name: str) -> None:
    """Every line of a lock names one version and at least one SHA-256."""
    for requirement, hashes in read_lock(name).values():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement


@pytest.mark.parametrize("name", ["auth", "resource"])
def test_what_the_images_install_is_what_was_tested(name: str) -> None:
    """Each version and hash of an image's lock is the one of dev.lock."""
    tested = read_lock("dev")
    for package, (requirement, hashes) in read_lock(name).items():
        assert package in tested, package
        assert requirement.specifier == tested[package][0].specifier, package
        assert hashes == tested[package][1], package


@pytest.mark.parametrize("name", ["auth", "resource"])
def test_the_images_install_no_test_tools(name: str) -> None:
    """What is named in the dev extra alone is in no image's lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {extra: _names(lines) for extra, lines in project["optional-dependencies"].items()}
    runtime = _names(project["dependencies"]).union(*(names for extra, names in extras.items() if extra != "dev"))
    assert (extras["dev"] - runtime) & read_lock(name).keys() == set()


def test_the_locks_hold_what_the_project_asks_for() -> None:
    """Every requirement of pyproject.toml is in dev.lock, in a version that it accepts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = read_lock("dev")
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    for line in lines:
        wanted = Requirement(line)
        if canonicalize_name(wanted.name) == canonicalize_name(project["name"]):
            continue
        assert canonicalize_name(wanted.name) in locked, f"{wanted}: run make lock"
        version = str(locked[canonicalize_name(wanted.name)][0].specifier).removeprefix("==")
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted}: run make lock"


def _names(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}
