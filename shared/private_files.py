"""Files and folders that only this service's own user can open.

Everything that holds a secret or data is made here: folders 0700, files 0600, whatever the umask, and a file
that was written whole or not at all.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Create `folder` and every missing parent with mode 0700; what exists is left as it is."""
    if not folder.parent.exists():
        make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise


def make_private_file(path: Path) -> None:
    """Create an empty file with mode 0600 in a private folder; an existing file is left as it is."""
    make_private_folder(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))


def write_private_file(path: Path, content: bytes | Iterable[bytes], *, replace: bool) -> bool:
    """Write `content` durably and all at once; return whether this call's content is what now stands there.

    What comes in parts need not fit into memory. With `replace` false an existing file wins, also over a process that
    writes at the same moment.
    """
    make_private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            try:
                os.link(draft, path)
            except FileExistsError:
                # Whoever made it may not have come to this yet, and what is built on the file must not outlive it.
                sync_folder(path.parent)
                return False
        sync_folder(path.parent)
        return True
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make durable what was created or renamed in `folder`: a new name is so only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
