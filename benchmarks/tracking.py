"""What logging adds to a compile: this plugin beside MLflow's own DSPy flavor and no logging, in one run.

Run it as a module, `python -m benchmarks.tracking`, from the root of the checkout.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import headline, summary, surroundings, table
from benchmarks.surrounding import variables
from benchmarks.tracing.stores import DATABASE, STORES, Store, make_tables, opened
from benchmarks.tracking_child import EXPERIMENT_VARIABLE

# In MLflow's tables.
_ENDED = "SELECT count(*) FROM runs WHERE experiment_id = ? AND status = 'FINISHED'"
# A contender -> the package that answers for `mlflow.dspy` in its process, and what switches to it.
CONTENDERS = {"none": (None, "true"), "plugin": ("mlflow_dspy_plugin", "true"), "mlflow": ("mlflow", "false")}


@dataclass(frozen=True)
class Compile:
    """What is measured.

    Attributes:
        what: It, in words.
        goal: What the plugin may add, in words.
        candidates: How many programs are scored.
        rows: On how many examples each.
        latency: How long the language model takes, in seconds.
        threads: Of each evaluation.
        repeat: How many processes each contender gets.
        mlflow_candidates: How many candidates MLflow's own flavor gets: with thousands it takes hours.
    """

    what: str
    goal: str
    candidates: int
    rows: int
    latency: float
    threads: int
    repeat: int
    mlflow_candidates: int


COMPILES = {
    "patient": Compile("a language model that answers in 50 ms", "at most 5% added", 24, 100, 0.05, 4, 5, 24),
    "instant": Compile("2,000 candidates, an instant language model", "at most 15 s added", 2000, 5, 0.0, 4, 3, 200),
}
QUICK = {
    "patient": replace(COMPILES["patient"], candidates=2, rows=4, repeat=1, mlflow_candidates=2),
    "instant": replace(COMPILES["instant"], candidates=5, rows=2, repeat=1, mlflow_candidates=5),
}
Figures = dict[str, list[dict[str, float]]]


def measure(compile: Compile, kind: str, folder: Path) -> Figures:
    """Measure all contenders on a store of a kind; they take turns, so that all meet the same machine."""
    figures: Figures = defaultdict(list)
    folder.mkdir()
    make_tables(folder / DATABASE)
    with opened(kind, folder, variables(folder)) as store:
        for turn in range(compile.repeat):
            for name in sorted(CONTENDERS, reverse=turn % 2 == 1):
                figures[name].append(run(name, compile, store, f"{name}-{turn}"))
    return figures


def run(name: str, compile: Compile, store: Store, experiment: str) -> dict[str, float]:
    """Run one process of a contender and return what it measured.

    Raises:
        RuntimeError: If it fails, or runs by another flavor.
    """
    package, switch = CONTENDERS[name]
    candidates = compile.mlflow_candidates if name == "mlflow" else compile.candidates
    sizes = (candidates, compile.rows, compile.latency, compile.threads)
    experiment_id, folder = store.new_experiment(experiment), store.database.parent
    own = {
        "MLFLOW_DSPY_PLUGIN": switch,
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_DSPY_EXIT_TIMEOUT": "600",
        EXPERIMENT_VARIABLE: experiment_id,
    }
    command = [sys.executable, "-m", "benchmarks.tracking_child", name, *map(str, sizes)]
    done = subprocess.run(
        command, cwd=folder, env={**variables(folder), **own}, capture_output=True, text=True, check=False
    )
    ended = time.time()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    found = next(json.loads(line) for line in reversed(done.stdout.splitlines()) if line.startswith("{"))
    if found["flavor"] != package:
        raise RuntimeError(f"mlflow.dspy is {found['flavor']}, not {package}: is mlflow-dspy-plugin installed?")
    own = {"candidates": candidates, "runs": runs_in(store, experiment_id), "load": os.getloadavg()[0]}
    return {"wall": found["wall"], "cpu": found["cpu"], "end": ended - found["ended"], **own}


def runs_in(store: Store, experiment: str) -> int:
    """How many runs of an experiment are in the store and have ended well."""
    with closing(sqlite3.connect(f"file:{store.database}?mode=ro", uri=True, timeout=60)) as connection:
        return connection.execute(_ENDED, [int(experiment)]).fetchone()[0]


def rows(figures: Figures) -> list[tuple[str, ...]]:
    """The figures as a table: medians, with the lowest and the highest in brackets.

    What is added is the median over that of no logging, a candidate; it is shown for as many as `none` had.
    """
    found = [("", "candidates", "compile: s", "added: s", "added", "CPU: s", "end: s", "runs", "load")]
    plain = statistics.median(each["wall"] for each in figures["none"])
    for name, measured in figures.items():
        candidates = measured[0]["candidates"]
        share = candidates / figures["none"][0]["candidates"]
        added = statistics.median(each["wall"] for each in measured) / share - plain
        columns = [summary([each[column] for each in measured]) for column in ("wall", "cpu", "end", "runs", "load")]
        told = ("", "") if name == "none" else (f"{added:.2f}", f"{added / plain:.1%}")
        found.append((name, str(candidates), columns[0], *told, *columns[1:]))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(COMPILES)}; without a name, all of them")
    parser.add_argument("--repeat", type=int, help="processes of each contender")
    parser.add_argument("--store", action="append", choices=STORES, help="where runs go")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    given = parser.parse_args(arguments)
    if unknown := set(given.what) - set(COMPILES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(COMPILES)}")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    written: dict[str, Any] = {}
    about = surroundings()
    print(headline(about), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.what or COMPILES:
            compile = (QUICK if given.quick else COMPILES)[name]
            compile = replace(compile, repeat=given.repeat or compile.repeat)
            for kind in given.store or STORES:
                figures = measure(compile, kind, Path(folder) / f"{name}-{kind}")
                print(f"\n{compile.what}, {kind}\n{table(rows(figures))}\ngoal: {compile.goal}", flush=True)
                written.setdefault(name, {})[kind] = {**asdict(compile), "figures": figures}
    if given.json:
        given.json.write_text(json.dumps({**about, "compiles": written}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
