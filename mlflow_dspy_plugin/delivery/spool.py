"""The spool: traces on disk, as lines of JSON in files that belong to one living process at a time.

A process locks a file of its own, `<name>.owner`, and writes `<name>-<number>.jsonl`. The lock ends
with the process however it ends; whoever then gets it has the files.
"""

import contextlib
import itertools
import os
import secrets
import stat
import threading
from pathlib import Path

from mlflow_dspy_plugin.delivery.locks import lock_file
from mlflow_dspy_plugin.names import SPOOL_OWNER, SPOOL_SEGMENT


class SpoolFull(Exception):
    """There is no room left for a line."""


class Segment:
    """A file of the spool that is written no more.

    Attributes:
        path: The file.
        owner: The name of the process that wrote it.
        done: How many of its bytes have been dealt with.
        lines: How many lines are left.
    """

    def __init__(self, path: Path, owner: str, lines: int | None = None) -> None:
        self.path, self.owner, self.done = path, owner, 0
        self.lines = path.read_bytes().count(b"\n") if lines is None else lines

    def read(self, count: int) -> list[bytes]:
        """The next lines; empty ones where somebody has deleted the file.

        What a process was writing when it died has no end and is left out.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.done)
                return [line for line in itertools.islice(file, count) if line.endswith(b"\n")]
        except FileNotFoundError:
            return [b""] * self.lines


class Spool:
    """The spool for one store, as this process uses it.

    Args:
        folder: Where it is; it is made with the first line.
        max_bytes: The size of all files in it, of other processes too, above which it takes no more.
        segment_bytes: The size at which a file is closed.

    Attributes:
        came: How many lines have come to this process: those that it wrote, and those that it claimed.
        left: How many of them have been dealt with.
    """

    def __init__(self, folder: Path, max_bytes: int, segment_bytes: int) -> None:
        self.folder = folder
        self._max_bytes, self._segment_bytes = max_bytes, segment_bytes
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a process that has none of the files: after a fork they are those of the parent."""
        for file in getattr(self, "_locks", {}).values():
            os.close(file)
        if getattr(self, "_file", None) is not None:
            os.close(self._file)
        self._lock = threading.RLock()
        # Owner -> the descriptor that holds its lock; our own among them.
        self._locks: dict[str, int] = {}
        self._closed: list[Segment] = []
        self._name: str | None = None
        self._file: int | None = None
        self._path: Path | None = None
        self._lines = self._written = self._count = 0
        self._others_bytes = 0
        self.came = self.left = 0

    def append(self, line: bytes) -> None:
        """Write a line.

        Raises:
            SpoolFull: If there is no room for it.
            OSError: If it cannot be written.
        """
        line += b"\n"
        with self._lock:
            if self._file is None:
                self._open()
            if self._others_bytes + self._written + len(line) > self._max_bytes:
                raise SpoolFull
            self._write(line)
            self.came += 1
            self._lines += 1
            self._written += len(line)
            if self._written >= self._segment_bytes:
                self._close_file()

    def next_segment(self) -> Segment | None:
        """The oldest file that is left, of this process before those that it claimed; it is written no more."""
        with self._lock:
            if self._lines and not any(each.owner == self._name for each in self._closed):
                self._close_file()
            own = (each for each in self._closed if each.owner == self._name)
            return next(own, self._closed[0] if self._closed else None)

    def advance(self, segment: Segment, lines: list[bytes]) -> None:
        """Go on behind these lines of a file, and delete it where they were the last."""
        with self._lock:
            segment.done += sum(map(len, lines))
            segment.lines -= len(lines)
            self.left += len(lines)
            if not segment.lines:
                self._discard(segment)

    def claim_orphans(self) -> None:
        """Take over the files of processes that live no more."""
        with self._lock:
            owners = {path.stem for path in self.folder.glob(f"*{SPOOL_OWNER}")}
            owners |= {path.stem.rpartition("-")[0] for path in self.folder.glob(f"*{SPOOL_SEGMENT}")}
            for owner in sorted(owners - self._locks.keys()):
                self._claim(owner)

    @property
    def name(self) -> str | None:
        """By what its own files are known; None before the first."""
        return self._name

    @property
    def lines(self) -> int:
        """How many lines this process has yet to deal with."""
        return self.came - self.left

    def size(self) -> int:
        """The bytes of all files in it."""
        return sum(_size_of(path) for path in self.folder.glob(f"*{SPOOL_SEGMENT}"))

    def close(self) -> None:
        """Leave the files to whoever claims them."""
        with self._lock:
            if self._file is not None:
                self._close_file()
            self._closed.clear()
            self.came = self.left = 0
            for owner in list(self._locks):
                self._release(owner)
            self._name = None

    def _discard(self, segment: Segment) -> None:
        self._closed.remove(segment)
        segment.path.unlink(missing_ok=True)
        self._others_bytes = self.size()
        if segment.owner != self._name and not any(each.owner == segment.owner for each in self._closed):
            self._release(segment.owner)

    def _claim(self, owner: str) -> None:
        lock = lock_file(self.folder / f"{owner}{SPOOL_OWNER}")
        if lock is None:
            return
        self._locks[owner] = lock
        found = sorted(self.folder.glob(f"{owner}-*{SPOOL_SEGMENT}"))
        for segment in [Segment(path, owner) for path in found]:
            self._closed.append(segment)
            self.came += segment.lines
            if not segment.lines:
                # Not even the first line was finished.
                self._discard(segment)
        if not found:
            self._release(owner)

    def _release(self, owner: str) -> None:
        """Unlock an owner's file, and delete it where nothing is left of the owner."""
        if not any(self.folder.glob(f"{owner}-*{SPOOL_SEGMENT}")):
            # Windows deletes no file that is open; whoever claims it finds nothing and tries again.
            with contextlib.suppress(OSError):
                (self.folder / f"{owner}{SPOOL_OWNER}").unlink()
        os.close(self._locks.pop(owner))

    def _open(self) -> None:
        """Begin a file, and a name with the first one."""
        if self._name is None:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(self.folder)
            self._name, lock = self._new_owner()
            self._locks[self._name] = lock
        self._count += 1
        self._path = self.folder / f"{self._name}-{self._count:06}{SPOOL_SEGMENT}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._lines = self._written = 0
        self._others_bytes = self.size()

    def _new_owner(self) -> tuple[str, int]:
        while True:
            name = f"{os.getpid()}-{secrets.token_hex(4)}"
            lock = lock_file(self.folder / f"{name}{SPOOL_OWNER}")
            # Another process may have taken the new file for one that was left.
            if lock is not None:
                return name, lock

    def _write(self, line: bytes) -> None:
        done = os.write(self._file, line)
        try:
            while done < len(line):
                done += os.write(self._file, line[done:])
        except OSError:
            # Half a line would spoil the next one.
            os.ftruncate(self._file, self._written)
            raise

    def _close_file(self) -> None:
        os.close(self._file)
        self._file = None
        if self._lines:
            self._closed.append(Segment(self._path, self._name, self._lines))
        else:
            self._path.unlink(missing_ok=True)
        self._lines = self._written = 0
        self._others_bytes = self.size()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        # Its owner has just deleted it.
        return 0


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can read, or see that it is one.

    Raises:
        OSError: If it is somebody else's.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode)):
        raise PermissionError(f"{folder} does not belong to this user")
