"""The two ways of running the services, each started once for the tests that use it.

One worker runs all tests with containers (`xdist_group`): they are built and started once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.end_to_end.containers import Containers, engine_answers, running_containers
from tests.end_to_end.deployment import Deployment, User
from tests.end_to_end.processes import Processes, running_processes
from tests.engines import require_engine


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Both services as processes."""
    with running_processes(tmp_path_factory.mktemp("processes")) as running:
        yield running


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """Both services as containers."""
    require_engine("Docker with compose", engine_answers())
    with running_containers() as running:
        yield running


@pytest.fixture(
    params=["processes", pytest.param("containers", marks=[pytest.mark.slow, pytest.mark.xdist_group("containers")])]
)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """The services, started in each of the two ways; a test leaves both of them running and ready."""
    running: Deployment = request.getfixturevalue(request.param)
    return running


_numbers = count(1)


@pytest.fixture
def user(deployment: Deployment) -> User:
    """Somebody new, signed in."""
    return User(deployment, f"ada-{next(_numbers)}").sign_up()


@pytest.fixture
def other_user(deployment: Deployment) -> User:
    """Somebody else, signed in."""
    return User(deployment, f"grace-{next(_numbers)}").sign_up()
