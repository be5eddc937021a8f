"""What the container images are made of and how compose runs them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.architecture.tree import ROOT

SERVICES = {"auth": "auth_service", "resource": "resource_service"}


def instructions(package: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order, continued lines joined."""
    text = (ROOT / package / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(words[0].upper(), words[1]) for words in (line.split(None, 1) for line in joined.splitlines())]


def compose_services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml."""
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    services: dict[str, dict[str, Any]] = composed["services"]
    return services


@pytest.mark.parametrize(("service", "package"), SERVICES.items())
def test_an_image_holds_its_own_service_and_what_is_shared(service: str, package: str) -> None:
    """An image copies its own package, shared/ and its lock from the tree, so a wrong import cannot start."""
    copied = {
        source
        for name, arguments in instructions(package)
        if name in ("COPY", "ADD") and not arguments.startswith("--from=")
        for source in arguments.split()[:-1]
    }
    assert copied == {package, "shared", f"requirements/{service}.lock"}


@pytest.mark.parametrize("package", SERVICES.values())
def test_an_image_takes_nothing_but_locked_wheels(package: str) -> None:
    """pip checks every hash and runs no package's build code."""
    installs = [words for name, words in instructions(package) if name == "RUN" and "pip" in words]
    assert len(installs) == 1
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert option in installs[0]


@pytest.mark.parametrize("package", SERVICES.values())
def test_an_image_runs_as_a_fixed_unprivileged_user_and_is_watched(package: str) -> None:
    """The last stage names a numeric user that is not root, and a health check that needs no other program."""
    steps = instructions(package)
    last_stage = steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :]
    users = [words for name, words in last_stage if name == "USER"]
    assert len(users) == 1
    assert int(users[0].split(":")[0]) >= 10_000
    checks = [words for name, words in last_stage if name == "HEALTHCHECK"]
    assert len(checks) == 1
    assert "shared.health" in checks[0]


def test_the_images_build_with_the_classic_builder() -> None:
    """Nothing that only BuildKit understands."""
    for package in SERVICES.values():
        text = (ROOT / package / "Dockerfile").read_text(encoding="utf-8")
        assert not re.search(r"^#\s*syntax=|--mount=|--link\b|<<", text, flags=re.MULTILINE)


def test_the_base_image_can_be_chosen() -> None:
    """Dockerfiles and compose file name the same public default, and compose passes on the environment's choice."""
    for package in SERVICES.values():
        assert instructions(package)[0] == ("ARG", "BASE_IMAGE=python:3.13-slim")
    for service in compose_services().values():
        assert service["build"]["args"] == {"BASE_IMAGE": "${BASE_IMAGE:-python:3.13-slim}"}


def test_the_two_images_run_as_different_users() -> None:
    """A file of one service is closed to the other even if a volume were mounted into both by mistake."""
    users = {words for package in SERVICES.values() for name, words in instructions(package) if name == "USER"}
    assert len(users) == len(SERVICES)


def test_containers_are_confined() -> None:
    """Read-only root, no capability, no new privilege, bounded memory and processes, published on loopback only."""
    for service in compose_services().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["pids_limit"] > 0
        assert service["mem_limit"]
        assert "privileged" not in service
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_containers_share_one_network_and_nothing_else() -> None:
    """No volume is mounted into both, and beside the network between them each has one of its own."""
    auth, resource = (compose_services()[name] for name in ("auth", "resource"))
    sources = [{volume.split(":")[0] for volume in service["volumes"]} for service in (auth, resource)]
    assert sources[0] & sources[1] == set()
    assert set(auth["networks"]) & set(resource["networks"]) == {"between"}
    assert len(auth["networks"]) == len(resource["networks"]) == 2
    assert "depends_on" not in resource
    assert "env_file" not in auth | resource
