"""One measured process: `pyfunc.predict` on one row and on a batch; prints figures as JSON."""

import argparse
import json
import os
import time
from collections.abc import Sequence

THREADS = 8


def measured(folder: str, rows: int, repeat: int) -> dict[str, list[float]]:
    """Seconds of one row and of a batch, in turns."""
    import mlflow
    import pandas as pd

    from benchmarks.serving.program import QUESTION

    model = mlflow.pyfunc.load_model(folder)
    tables = {"row": pd.DataFrame([QUESTION]), "batch": pd.DataFrame([QUESTION] * rows)}
    # Connections are opened, and all that is imported late.
    model.predict(tables["batch"])
    found: dict[str, list[float]] = {name: [] for name in tables}
    for _ in range(repeat):
        for name, table in tables.items():
            begun = time.perf_counter()
            model.predict(table)
            found[name].append(time.perf_counter() - begun)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.rows", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("rows", type=int)
    parser.add_argument("repeat", type=int)
    given = parser.parse_args(arguments)
    os.environ["MLFLOW_DSPY_PREDICT_THREADS"] = str(THREADS)
    print(json.dumps(measured(given.folder, given.rows, given.repeat)))


if __name__ == "__main__":
    main()
