"""What a test sees of a running pair of services, however they were started."""

from __future__ import annotations

import abc
import enum
import itertools
import random
import socket
import time

from tests.end_to_end.http import Answer, NoAnswer, call

READY_SECONDS = 60.0
POLL_SECONDS = 0.02
# Below the ports that the kernel gives out by itself: a port stays free from being found until it is used, and while
# the process that listens on it is restarted. In an order of their own in each process, so that two seldom meet.
_ports = itertools.cycle(random.sample(range(10_240, 32_768), 22_528))


class Service(enum.StrEnum):
    """The two services, by the names that compose gives them."""

    AUTH = "auth"
    RESOURCE = "resource"

    @property
    def package(self) -> str:
        return f"{self.value}_service"


class Deployment(abc.ABC):
    """Both services, running, with an empty store each."""

    def __init__(self, ports: dict[Service, int]) -> None:
        self.ports = ports

    def url(self, service: Service, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    @abc.abstractmethod
    def start(self, service: Service) -> None:
        """Start a service that is not running, on the store and the port it had; do not wait."""

    @abc.abstractmethod
    def stop(self, service: Service) -> None:
        """Stop a service the orderly way and wait until it has ended."""

    @abc.abstractmethod
    def kill(self, service: Service) -> None:
        """End a service with SIGKILL and wait until it is gone."""

    @abc.abstractmethod
    def is_running(self, service: Service) -> bool:
        """Whether the service has been started and has not ended."""

    @abc.abstractmethod
    def logs(self, service: Service) -> str:
        """Everything that the service printed so far."""

    def wait_until_ready(self, *services: Service) -> None:
        """Return when each of the services (both, if none is named) answers 200 on /readyz."""
        deadline = time.monotonic() + READY_SECONDS
        for service in services or tuple(Service):
            while not self._is_ready(service):
                hopeful = time.monotonic() < deadline and self.is_running(service)
                assert hopeful, f"{service} is not ready:\n{self.logs(service)}"
                time.sleep(POLL_SECONDS)

    def restart(self, *services: Service) -> None:
        """Stop the services (both, if none is named), start them again and wait until they are ready."""
        for service in services or tuple(Service):
            self.stop(service)
        for service in services or tuple(Service):
            self.start(service)
        self.wait_until_ready(*services)

    def _is_ready(self, service: Service) -> bool:
        try:
            return call("GET", self.url(service, "/readyz")).status == 200
        except NoAnswer:
            return False


class User:
    """Somebody with an account, at the outside of both services."""

    def __init__(self, deployment: Deployment, username: str, password: str = "correct horse battery") -> None:
        self._deployment = deployment
        self.username = username
        self._password = password
        self.token = ""

    def register(self) -> Answer:
        return self._auth("/register")

    def login(self) -> Answer:
        """Sign in and keep the access token for the data calls."""
        answer = self._auth("/login")
        if answer.status == 200:
            self.token = answer.json()["access_token"]
        return answer

    def sign_up(self) -> User:
        """Register and sign in; both must work."""
        for answer in (self.register(), self.login()):
            assert answer.status in (200, 201), answer
        return self

    def put(self, name: str, value: object) -> Answer:
        return self._data("PUT", f"/{name}", value)

    def get(self, name: str) -> Answer:
        return self._data("GET", f"/{name}")

    def delete(self, name: str) -> Answer:
        return self._data("DELETE", f"/{name}")

    def everything(self) -> Answer:
        return self._data("GET", "")

    def _auth(self, path: str) -> Answer:
        credentials = {"username": self.username, "password": self._password}
        return call("POST", self._deployment.url(Service.AUTH, path), content=credentials)

    def _data(self, method: str, path: str, value: object = None) -> Answer:
        url = self._deployment.url(Service.RESOURCE, f"/userData{path}")
        return call(method, url, content=value, token=self.token)


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nobody listens on, and none of those that were given before."""
    return list(itertools.islice(filter(_is_free, _ports), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
