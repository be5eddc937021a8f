"""SIGKILL in the middle of a burst of writes: what was acknowledged is there, and no half of anything."""

from __future__ import annotations

import abc
import hashlib
import random
import sqlite3
import threading
from collections import defaultdict
from time import sleep

import pytest

from tests.end_to_end.deployment import Deployment, Service, User
from tests.end_to_end.http import NoAnswer
from tests.end_to_end.processes import Processes

WRITERS = 4
ITEMS_OF_A_WRITER = 10
LONGEST_BURST_SECONDS = 0.4
ROUNDS = {"processes": 20, "containers": 3}


class Burst(abc.ABC):
    """Writers, each with its thread, that go on until no answer comes."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.problems: list[Exception] = []

    @abc.abstractmethod
    def write(self, writer: int, number: int) -> None:
        """One write; returns when it was acknowledged."""

    def threads(self) -> list[threading.Thread]:
        return [threading.Thread(target=self._run, args=(writer,)) for writer in range(WRITERS)]

    def _run(self, writer: int) -> None:
        number = 0
        try:
            while True:
                self.write(writer, number)
                self.acknowledged += 1
                number += 1
        except NoAnswer:
            return
        except Exception as problem:  # noqa: BLE001 - raised again in the test's own thread
            self.problems.append(problem)


class Registrations(Burst):
    """New accounts, one after another."""

    def __init__(self, deployment: Deployment, round_number: int) -> None:
        super().__init__()
        self._deployment = deployment
        self._round = round_number
        self.attempted: list[User] = []
        self.told: list[User] = []

    def write(self, writer: int, number: int) -> None:
        user = User(self._deployment, f"burst-{self._round}-{writer}-{number}")
        self.attempted.append(user)
        answer = user.register()
        assert answer.status == 201, answer
        self.told.append(user)


class Items(Burst):
    """Items of one user: each writer makes its own and goes on replacing them."""

    def __init__(self, user: User, round_number: int) -> None:
        super().__init__()
        self._user = user
        self._round = round_number
        self.sent: defaultdict[str, list[object]] = defaultdict(list)
        self.last_told: dict[str, int] = {}
        """For each item the index of the last value in `sent` that was acknowledged."""

    def write(self, writer: int, number: int) -> None:
        name = f"w{writer}-{number % ITEMS_OF_A_WRITER}"
        text = f"{self._round}-{number} " * (1 + number % 500)
        value = {"text": text, "digest": hashlib.sha256(text.encode()).hexdigest()}
        self.sent[name].append(value)
        answer = self._user.put(name, value)
        assert answer.status in (201, 204), answer
        self.last_told[name] = len(self.sent[name]) - 1


def kill_in_the_middle(deployment: Deployment, service: Service, burst: Burst, chance: random.Random) -> None:
    """Run the burst, kill the service after a random while, start it again."""
    threads = burst.threads()
    for thread in threads:
        thread.start()
    while burst.acknowledged == 0 and any(thread.is_alive() for thread in threads):
        sleep(0.005)
    sleep(chance.uniform(0.0, LONGEST_BURST_SECONDS))
    deployment.kill(service)
    for thread in threads:
        thread.join()
    deployment.start(service)
    deployment.wait_until_ready(service)
    if burst.problems:
        raise burst.problems[0]
    assert burst.acknowledged > 0


@pytest.fixture
def rounds(deployment: Deployment) -> int:
    """How often the service is killed: a container takes longer to come back."""
    return ROUNDS["processes" if isinstance(deployment, Processes) else "containers"]


@pytest.mark.slow
def test_every_acknowledged_registration_survives(deployment: Deployment, rounds: int) -> None:
    """Who was told 201 can sign in after the restart; who was not is there whole, or not at all."""
    chance = random.Random(1)
    for round_number in range(rounds):
        burst = Registrations(deployment, round_number)
        kill_in_the_middle(deployment, Service.AUTH, burst, chance)
        assert len(burst.attempted) - len(burst.told) <= WRITERS
        for user in burst.attempted:
            # Half an account would be one that is taken and cannot sign in.
            assert user in burst.told or user.register().status in (201, 409), user.username
            assert user.login().status == 200, user.username
    assert_sound(deployment, Service.AUTH)


@pytest.mark.slow
def test_every_acknowledged_item_survives(deployment: Deployment, rounds: int, user: User) -> None:
    """An item has the last value that was acknowledged, or one that was sent after it; whole in either case."""
    chance = random.Random(2)
    for round_number in range(rounds):
        assert user.login().status == 200
        burst = Items(user, round_number)
        kill_in_the_middle(deployment, Service.RESOURCE, burst, chance)
        stored = user.everything().json()["data"]
        for name, values in burst.sent.items():
            if name in burst.last_told:
                assert stored[name] in values[burst.last_told[name] :], name
        for value in stored.values():
            assert hashlib.sha256(value["text"].encode()).hexdigest() == value["digest"]
    assert_sound(deployment, Service.RESOURCE)


def assert_sound(deployment: Deployment, service: Service) -> None:
    """SQLite itself finds nothing wrong with the file (only asked where the file is at hand)."""
    if isinstance(deployment, Processes):
        database = deployment.data_folder(service) / f"{service}.sqlite3"
        connection = sqlite3.connect(database)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        finally:
            connection.close()
