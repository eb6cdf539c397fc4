"""Real processes: started in a group of their own, waited for by polling, ended by group.

Whatever goes wrong is told together with what the process has written.
"""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PYTHON = Path(sys.executable)
POLL_SECONDS = 0.1
SHOWN_CHARACTERS = 8000


class ProcessFailed(AssertionError):
    """A process died, ended with an error, or was not ready in time; says what it has written."""


@dataclass(frozen=True)
class Finished:
    """What a process that ended well has written."""

    stdout: str
    stderr: str


class Process:
    """A process with its own group, and its output in two files.

    Args:
        command: What to run.
        folder: Where its output goes; it works there too unless `cwd` is given.
        environment: All of its environment variables.
        cwd: Where it works.
        stdin: A text to send it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        stdin: str = "",
    ):
        self.command, self.folder = [str(part) for part in command], folder
        self._out, self._err, given = folder / "stdout.log", folder / "stderr.log", folder / "stdin.txt"
        given.write_text(stdin)
        with self._out.open("w") as out, self._err.open("w") as err, given.open() as into:
            self._popen = subprocess.Popen(
                self.command,
                stdin=into,
                stdout=out,
                stderr=err,
                env=dict(environment),
                cwd=cwd or folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its number, and that of its group and session."""
        return self._popen.pid

    @property
    def stdout(self) -> str:
        """What it has written to its standard output until now."""
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has written to its standard error until now."""
        return self._err.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        """Poll until it is ready, that is, until it has done `what`.

        Raises:
            ProcessFailed: If it ends or takes longer.
        """
        for _ in range(int(seconds / POLL_SECONDS)):
            if ready():
                return
            if self._ended_within(POLL_SECONDS):
                raise self._failure(f"ended with {self._popen.returncode} before it had {what}")
        raise self._failure(f"had not {what} after {seconds:.0f} s")

    def finish(self, seconds: float) -> Finished:
        """Wait for its end.

        Raises:
            ProcessFailed: If it ends with an error or takes longer.
        """
        if not self._ended_within(seconds):
            raise self._failure(f"still ran after {seconds:.0f} s")
        if self._popen.returncode != 0:
            raise self._failure(f"ended with {self._popen.returncode}")
        return Finished(self.stdout, self.stderr)

    def end(self, seconds: float) -> int:
        """Ask it to end, and give what it ended with.

        Raises:
            ProcessFailed: If it takes longer.
        """
        self._popen.terminate()
        if not self._ended_within(seconds):
            raise self._failure(f"had not ended {seconds:.0f} s after it was asked to")
        return self._popen.returncode

    def stop(self) -> None:
        """End it and all that it has started."""
        self._signal(signal.SIGTERM)
        self._ended_within(10)
        # Workers may outlive their parent, and a parent may be deaf.
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            return

    def _failure(self, what: str) -> ProcessFailed:
        return ProcessFailed(
            f"{' '.join(self.command)}\n{what}.\n"
            f"--- its stdout\n{self.stdout[-SHOWN_CHARACTERS:]}\n"
            f"--- its stderr\n{self.stderr[-SHOWN_CHARACTERS:]}"
        )


@contextmanager
def running(command: Sequence[str | Path], folder: Path, **options: object) -> Iterator[Process]:
    """Run a process as long as the block lasts; `options` are those of `Process`."""
    folder.mkdir(parents=True, exist_ok=True)
    process = Process(command, folder, **options)
    try:
        yield process
    finally:
        process.stop()


def run(command: Sequence[str | Path], folder: Path, *, seconds: float = 120, **options: object) -> Finished:
    """Run a process to its end; `options` are those of `Process`.

    Raises:
        ProcessFailed: If it ends with an error or takes longer.
    """
    with running(command, folder, **options) as process:
        return process.finish(seconds)


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(url: str) -> bool:
    """Whether a GET of the URL is answered by 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False
