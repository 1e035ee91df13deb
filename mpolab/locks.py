"""One process at a time: a lock that the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BusyError


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds the lock `path`, a file that is there as long as the block lasts, or until the next holder after a kill.

    what: is done under it, "the recipe 'demo' (smoke, seed 0)". Raises BusyError, with the holder's process number, if
    another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _take(path, what)
    try:
        yield
    finally:
        if os.name != "nt":  # Windows deletes no open file; a lock is a lock with or without
            path.unlink(missing_ok=True)
        os.close(handle)


def _take(path: Path, what: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(handle):
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else ""
            os.close(handle)
            raise BusyError(
                f"{what} is being run by another process{f' (number {holder})' if holder else ''}. Wait until it is "
                "done, or end it: what is asked for again then goes on from its last checkpoint."
            )
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except FileNotFoundError:
            pass
        os.close(handle)  # its last holder deleted the file between our opening and our locking it
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


def _lock(handle: int) -> bool:
    """Whether the lock was free; it is ours then."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, 1 << 20, os.SEEK_SET)  # a byte beyond the process number, which others may read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise  # a file system without locks is no other process
    return True
