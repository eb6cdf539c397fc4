"""Lines of a journal -> the operations to do: in an order that keeps their sense, and as few as may be."""

import json
import time
from collections.abc import Iterable
from typing import Any

from mlflow_dspy_plugin.recording.run_store import Operation, is_made_here

# What MLflow takes in one request.
LOGGED = ("params", "metrics", "tags")
# Runs begin before anything is said of them, their parents first, and end when all is said.
_ORDER = {"begin": 0, "end": 2}
_FIELDS = {"do", "run", "experiment"}


def planned(lines: Iterable[bytes], by_the_dead: bool = False) -> list[Operation]:
    """The operations on these lines.

    Those that MLflow takes in one request are one, `log`, with the single ones as its parts. Of a text
    that was written several times the last is left. A line that is no operation is left out.

    Args:
        lines: The lines.
        by_the_dead: Whether who has written them was killed: runs that it has made are ended.
    """
    plan: dict[Any, Operation] = {}
    for number, operation in enumerate(filter(None, map(_parsed, lines))):
        do, run = operation["do"], operation["run"]
        if do in LOGGED:
            joined = {"do": "log", "run": run, "experiment": operation["experiment"], "parts": []}
            plan.setdefault(("log", run), joined)["parts"].append(operation)
        elif do == "text":
            plan[do, run, operation.get("file")] = operation
        else:
            plan[number] = operation
    if by_the_dead:
        plan.update(_ends(plan.values()))
    return sorted(plan.values(), key=lambda operation: _ORDER.get(operation["do"], 1))


def _ends(operations: Iterable[Operation]) -> dict[Any, Operation]:
    """What ends the runs that nobody else will end."""
    told = list(operations)
    ended = {operation["run"] for operation in told if operation["do"] == "end"}
    left = {each["run"]: each for each in told if each["run"] not in ended and is_made_here(each["run"])}
    now = time.time()
    return {
        ("end", run): {"do": "end", "run": run, "experiment": each["experiment"], "status": "KILLED", "at": now}
        for run, each in left.items()
    }


def _parsed(line: bytes) -> Operation | None:
    try:
        operation = json.loads(line)
        return operation if operation.keys() >= _FIELDS else None
    except (ValueError, AttributeError):
        return None
