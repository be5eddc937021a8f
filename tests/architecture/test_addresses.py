"""Where packages and images come from is the machine's business: no file says it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from tests.architecture.tree import ROOT, tracked_files

BUILD_FILES = ("requirements/", "scripts/", ".ci/", "Makefile", "pyproject.toml", "docker-compose.yml", ".dockerignore")
OUR_HOSTS = {"localhost", "127.0.0.1", "[", "auth", "resource"}


def texts() -> list[tuple[str, str]]:
    """The name and text of every file that is text."""
    found = []
    for path in tracked_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_what_builds_the_project_names_no_foreign_host() -> None:
    """Locks, scripts, Dockerfiles and the compose file hold no URL but those of our own services."""
    for name, text in texts():
        if not (name.startswith(BUILD_FILES) or name.endswith("/Dockerfile")):
            continue
        for url in re.findall(r"\b(?:https?|file|ftp)://[^\s\"'`)\\]+", text):
            host = urlsplit(url.replace("{", "").replace("}", "")).netloc.partition(":")[0]
            assert host in OUR_HOSTS or "$" in host or host == "host", f"{name}: {url}"


def test_no_file_chooses_a_package_index() -> None:
    """No option and no variable that points an installer somewhere, but those that keep addresses out."""
    option = re.compile(r"(?<!emit)--?(?:extra-)?index-url[ =]\S|--find-links[ =]\S|PIP_\w*INDEX_URL\s*=")
    for name, text in texts():
        assert not option.search(text), name


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    """Neither the folder of this clone nor a person's home folder occurs in any file."""
    paths = {f"{Path.home()}/"} if len(Path.home().parts) > 1 else set()
    if len(ROOT.parts) > 2:
        paths.add(str(ROOT))
    for name, text in texts():
        for path in paths:
            assert not re.search(rf"(?<![\w.]){re.escape(path)}", text), f"{name}: {path}"
