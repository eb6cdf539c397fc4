"""How many traces of a server are stored, and one more process that stores what the server has kept on disk."""

import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from benchmarks.tracing.stores import wait_until
from mlflow_dspy_plugin.names import TRACE_REQUEST_ID

# Seconds without another trace.
_PATIENCE = 20.0
# It traces a program, whereby what the last process has left is written too, and goes on until it is told to end.
_PROGRAM = """
import sys, dspy, mlflow

class Bringing(dspy.Module):
    def forward(self):
        return dspy.Prediction()

mlflow.dspy.autolog()
Bringing()()
sys.stdin.read()
"""


def stored(store: str) -> int:
    """How many traces of requests there are in a SQLite store."""
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as database:
        of_requests = "SELECT COUNT(*) FROM trace_request_metadata WHERE key = ?"
        return database.execute(of_requests, (TRACE_REQUEST_ID,)).fetchone()[0]


def bring(store: str, expected: int, environment: Mapping[str, str], folder: Path) -> None:
    """Run one more process until all traces are stored, or no more come."""
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(command, cwd=folder, env=dict(environment), stdin=subprocess.PIPE) as process:
        wait_until(lambda: stored(store) >= expected, lambda: stored(store), _PATIENCE)
        process.stdin.close()
