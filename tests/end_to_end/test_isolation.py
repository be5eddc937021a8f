"""Nothing but HTTP connects the two services: no file, volume or database is reachable from both."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.end_to_end.containers import Containers
from tests.end_to_end.deployment import Service, User
from tests.end_to_end.processes import Processes


def test_processes_open_no_file_in_common(processes: Processes) -> None:
    """No data file that one process holds open is held open by the other, and none lies in the other's folder."""
    User(processes, "isolated-ada").sign_up().put("greeting", "hello")
    folders = [processes.data_folder(service) for service in Service]
    held = [_open_files(processes.pid(service)) for service in Service]
    for own, other_folder in zip(held, reversed(folders), strict=True):
        assert not [path for path in own if path.is_relative_to(other_folder)]
    shared_by_both = held[0] & held[1]
    assert not [path for path in shared_by_both if any(path.is_relative_to(folder) for folder in folders)]


def test_data_and_secrets_are_closed_to_other_users(processes: Processes) -> None:
    """Every folder of a service is 0700 and every file in it 0600, also what SQLite makes beside the database."""
    User(processes, "closed-ada").sign_up().put("greeting", "hello")
    for service in Service:
        folder = processes.data_folder(service)
        found = [folder, *folder.rglob("*")]
        assert len(found) > 1
        for path in found:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path.name}: {mode:o}"


@pytest.mark.slow
@pytest.mark.xdist_group("containers")
def test_containers_share_no_volume(containers: Containers) -> None:
    """Each container has one writable mount, and they are different volumes."""
    sources = [
        {mount["Source"] for mount in containers.inspect(service)["Mounts"] if mount["RW"]} for service in Service
    ]
    assert [len(mounts) for mounts in sources] == [1, 1]
    assert sources[0] & sources[1] == set()


@pytest.mark.slow
@pytest.mark.xdist_group("containers")
def test_an_image_holds_no_code_of_the_other_service(containers: Containers) -> None:
    """In each container only its own package and shared/ can be imported, and no installer or test tool."""
    for service, other in zip(Service, reversed(Service), strict=True):
        words = containers.python(
            service,
            "from importlib.util import find_spec\n"
            f"for name in {(service.package, 'shared', other.package, 'tests', 'pip', 'pytest')!r}:\n"
            "    print(name, find_spec(name) is not None)\n",
        )
        found = dict(line.split() for line in words.splitlines())
        assert [name for name, is_there in found.items() if is_there == "True"] == [service.package, "shared"]


@pytest.mark.slow
@pytest.mark.xdist_group("containers")
def test_a_container_writes_to_its_volume_and_nowhere_else(containers: Containers) -> None:
    """Not root, no capability, a root file system that cannot be written, data closed to other users."""
    for service in Service:
        words = containers.python(
            service,
            "import os, pathlib\n"
            "print(os.getuid())\n"
            "status = pathlib.Path('/proc/self/status').read_text()\n"
            "print(*(line.split()[1] for line in status.splitlines() if line.startswith(('CapEff', 'NoNewPrivs'))))\n"
            "for folder in ('/app', '/usr/bin', '/var/tmp', '/var/lib'):\n"
            "    try:\n"
            "        pathlib.Path(folder, 'written').write_text('')\n"
            "        print('writable', folder)\n"
            "    except OSError:\n"
            "        pass\n"
            "data = pathlib.Path('/var/lib/signet')\n"
            "print(*sorted({oct(path.stat().st_mode & 0o777) for path in (data, *data.rglob('*'))}))\n",
        )
        uid, privileges, modes = words.splitlines()
        assert int(uid) >= 10_000
        assert privileges.split() == ["0000000000000000", "1"]
        assert modes.split() == ["0o600", "0o700"]


@pytest.mark.slow
@pytest.mark.xdist_group("containers")
def test_a_container_reaches_the_api_of_the_other_and_no_other_port(containers: Containers) -> None:
    """On the network between them a service offers its API: the metrics, say, are not reachable from the other."""
    for service, other in zip(Service, reversed(Service), strict=True):
        words = containers.python(
            service,
            "import socket\n"
            f"for port in (8001, 8002, 9001, 9002, 5432):\n"
            "    try:\n"
            f"        socket.create_connection(('{other}', port), timeout=2).close()\n"
            "        print(port)\n"
            "    except OSError:\n"
            "        pass\n",
        )
        assert words.split() == [{Service.AUTH: "8001", Service.RESOURCE: "8002"}[other]]


def _open_files(pid: int) -> set[Path]:
    """The regular files that a process holds open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            path = descriptor.readlink()
        except FileNotFoundError:  # closed since the folder was listed
            continue
        if path.is_absolute() and path.is_file():
            found.add(path)
    return found
