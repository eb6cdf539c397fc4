"""The memory of a process that makes a dataset of a million examples, logs it, and reads it back.

Run it as a module, `python -m benchmarks.datasets`, from the root of the checkout. Linux only: memory is read from
`/proc`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import headline, surroundings, table
from benchmarks.surrounding import variables
from benchmarks.tracing.stores import DATABASE, STORES, make_tables, opened

ROWS, QUICK_ROWS, LOOKS = 1_000_000, 2_000, 10
PASSAGE = "A passage that the question is about, of the length of a short paragraph. " * 6


class Memory:
    """The resident memory of this process, in MB, as rows go by."""

    def __init__(self, rows: int):
        self._every = rows // LOOKS
        self.looks: list[float] = []

    def of(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Hand on the rows, and look at the memory every tenth of them."""
        for number, row in enumerate(rows, 1):
            yield row
            if number % self._every == 0:
                self.looks.append(resident())


def resident(what: str = "VmRSS:") -> float:
    """The resident memory of this process, or with "VmHWM:" the most since `forget_peak`, in MB."""
    lines = map(str.split, Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) / 1024 for words in lines if words and words[0] == what)


def forget_peak() -> None:
    """Begin anew with the most."""
    Path("/proc/self/clear_refs").write_text("5")


def made_up(count: int) -> Iterator[Any]:
    """Examples of half a kilobyte, one by one."""
    import dspy

    for number in range(count):
        fields = {"question": f"What is {number}?", "passage": f"{number}: {PASSAGE}", "answer": str(number)}
        yield dspy.Example(fields).with_inputs("question", "passage")


def measure(rows: int, uri: str) -> dict[str, dict[str, Any]]:
    """Make the dataset, log it and read it back: of each what it took and how much memory there was meanwhile."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("datasets")
    # Whatever is loaded once, is.
    with mlflow.start_run():
        mlflow.log_input(mlflow.data.from_dspy(made_up(10), name="first"))
    figures: dict[str, dict[str, Any]] = {}
    with step(figures, "made", rows) as memory:
        dataset = mlflow.data.from_dspy(memory.of(made_up(rows)), name="many")
    with step(figures, "logged", rows), mlflow.start_run() as run:
        mlflow.log_input(dataset)
    (given,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    with step(figures, "read back", rows) as memory:
        read = sum(1 for _ in memory.of(mlflow.data.get_source(given).examples()))
    assert read == rows == json.loads(given.dataset.profile)["num_rows"]
    return figures


@contextmanager
def step(figures: dict[str, dict[str, Any]], name: str, rows: int) -> Iterator[Memory]:
    """Tell of a block how long it took, and what memory there was."""
    memory = Memory(rows)
    forget_peak()
    before, begun = resident(), time.perf_counter()
    yield memory
    seconds = time.perf_counter() - begun
    figures[name] = {"seconds": seconds, "before": before, "peak": resident("VmHWM:"), "looks": memory.looks}


def shown(figures: dict[str, dict[str, Any]]) -> str:
    """A row a step."""
    head = ("", "s", "MB before", "MB after a tenth of the rows", "MB after all", "MB at most")
    rows = []
    for name, each in figures.items():
        looks = each["looks"] or [None, None]
        columns = (each["seconds"], each["before"], looks[0], looks[-1], each["peak"])
        rows.append((name, *("-" if column is None else f"{column:.1f}" for column in columns)))
    return table([head, *rows])


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datasets", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="how many examples")
    parser.add_argument("--store", choices=STORES, default="server", help="where the dataset is logged to")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    given = parser.parse_args(arguments)
    rows = QUICK_ROWS if given.quick else given.rows
    about = surroundings(rows=rows, store=given.store)
    print(headline(about), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update({**variables(folder), "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"})
        os.chdir(folder)
        make_tables(folder / DATABASE)
        with opened(given.store, folder, os.environ) as store:
            figures = measure(rows, store.uri)
    print(f"{shown(figures)}\ngoal: no more after all rows than after a tenth of them, but for the noise of a few MB")
    if given.json:
        given.json.write_text(json.dumps({**about, "figures": figures}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
