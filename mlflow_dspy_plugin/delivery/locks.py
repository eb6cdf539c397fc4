"""A lock on a file that ends with the process that holds it."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock_file(path: Path) -> int | None:
    """Make the file if there is none, and lock it.

    Returns:
        A descriptor that holds the lock until it is closed; None where another one has it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # Another process may have deleted the file between our opening and our locking it.
    if _lock(file) and _is_still(path, file):
        return file
    os.close(file)
    return None


def _lock(file: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False
