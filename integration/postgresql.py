"""A PostgreSQL of the tests' own: a cluster in a folder of its own, reached by a socket in it, gone when it ends.

Debian keeps the programs of its package `postgresql` off the path.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
# PostgreSQL refuses to run as root; Debian's package makes this user.
USER = "postgres"
MISSING = "no PostgreSQL is installed: apt-get install postgresql"
NO_DRIVER = "no driver for PostgreSQL is installed: pip install psycopg2-binary"


def missing() -> str | None:
    """What is not installed, and how it is; None where all is there."""
    if find_spec("psycopg2") is None:
        return NO_DRIVER
    return MISSING if _programs() is None else None


def _programs() -> Path | None:
    """The folder of its programs, of the newest release that is installed."""
    found = shutil.which("initdb")
    installed = [*DEBIAN.glob("*/bin/initdb"), *([Path(found).resolve()] if found else [])]
    return max(installed, key=lambda path: path.parts).parent if installed else None


@contextmanager
def database() -> Iterator[str]:
    """The URI of an empty database, as SQLAlchemy reads it."""
    # Not in pytest's folder, which is root's alone; and the path of a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        _run(folder, "initdb", "--auth=trust", f"--username={USER}", "--no-sync", folder / "data")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        _run(folder, "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-o", options, "--wait", "start")
        try:
            _run(folder, "createdb", f"--host={folder}", f"--username={USER}", "mlflow")
            # The driver by its name, since releases of SQLAlchemy differ in their default; nothing in it may be quoted by `%`.
            yield f"postgresql+psycopg2://{USER}@/mlflow?host={folder}"
        finally:
            _run(folder, "pg_ctl", "-D", folder / "data", "--mode=immediate", "--wait", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, program: str, *arguments: str | Path) -> None:
    """Run one of its programs to the end, as a user that it accepts."""
    command = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    command += [str(_programs() / program), *map(str, arguments)]
    # Not by pipes: the server would keep them open.
    with (folder / "commands.log").open("ab") as log:
        finished = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=120)
    assert finished.returncode == 0, f"{program} failed:\n{(folder / 'commands.log').read_text(errors='replace')}"
