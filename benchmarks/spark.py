"""Rows a second of a program as a function of Spark, on a standalone master with one worker and with two.

Run it as a module, `python -m benchmarks.spark`, where pyspark and Java are installed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import headline, summary, surroundings, table
from benchmarks.serving.contenders import environment, saved
from benchmarks.serving.lm import language_model
from integration.processes import free_port, running

LATENCY, THREADS = 0.2, 8
PARTITIONS = 8
GOAL = 1.8


@contextmanager
def standalone(workers: int, folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """A standalone master with workers of a core each; gives its address."""
    import pyspark

    spark_class, deploy = Path(pyspark.__file__).parent / "bin" / "spark-class", "org.apache.spark.deploy"
    port, page, where = str(free_port()), str(free_port()), ("--host", "127.0.0.1")
    master = [spark_class, f"{deploy}.master.Master", *where, "--port", port, "--webui-port", page]
    worker = [spark_class, f"{deploy}.worker.Worker", *where, "--cores", "1", "--memory", "1g"]
    with ExitStack() as stack:
        process = stack.enter_context(running(master, folder / "master", environment=variables))
        process.wait_until(lambda: alive(page) == 0, "answered", 90)
        for number in range(workers):
            command = [*worker, f"spark://127.0.0.1:{port}"]
            stack.enter_context(running(command, folder / f"worker{number}", environment=variables))
        process.wait_until(lambda: alive(page) == workers, f"{workers} workers", 90)
        yield f"spark://127.0.0.1:{port}"


def alive(page: str) -> int:
    """How many workers a master has; -1 before it answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/") as response:
            return json.load(response)["aliveworkers"]
    except OSError:
        return -1


def rows_a_second(master: str, model: Path, rows: int, repeat: int) -> list[float]:
    """Rows a second of each turn; the first, in which Python starts on the workers, is not told."""
    import mlflow
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col, concat, lit

    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master(master).appName("benchmark")
    for name, value in options.items():
        builder = builder.config(name, value)
    with builder.getOrCreate() as spark:
        spark.sparkContext.setLogLevel("ERROR")
        threads = {"MLFLOW_DSPY_PREDICT_THREADS": str(THREADS)}
        predict = mlflow.pyfunc.spark_udf(spark, str(model), env_manager="local", extra_env=threads)
        asked = spark.range(rows, numPartitions=PARTITIONS)
        asked = asked.select(concat(lit("What is "), col("id")).alias("question"))
        found = [seconds_of(asked.select(predict("question").alias("answer")), rows) for _ in range(repeat + 1)]
    return [rows / seconds for seconds in found[1:]]


def seconds_of(answers: Any, rows: int) -> float:
    """How long it takes to answer all rows."""
    begun = time.perf_counter()
    answered = answers.collect()
    assert len(answered) == rows
    return time.perf_counter() - begun


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark", description=__doc__)
    parser.add_argument("--rows", type=int, default=1600, help="how many rows are answered in a turn")
    parser.add_argument("--repeat", type=int, default=5, help="turns on each cluster")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.repeat = 32, 1
    about = surroundings("pyspark", latency=LATENCY, threads=THREADS, rows=given.rows)
    print(headline(about), flush=True)
    figures: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, language_model(LATENCY) as api_base:
        folder = Path(name)
        variables = {**environment(folder, "plugin"), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        os.environ.update(variables)
        model = saved("plugin", api_base, folder)
        for workers in (1, 2):
            with standalone(workers, folder / str(workers), variables) as master:
                figures[workers] = rows_a_second(master, model, given.rows, given.repeat)
    ratio = statistics.median(figures[2]) / statistics.median(figures[1])
    shown = [(str(workers), summary(rates)) for workers, rates in figures.items()]
    print(table([("workers", "rows/s"), *shown]))
    print(f"two over one: {ratio:.2f}\ngoal: at least {GOAL}")
    if given.json:
        given.json.write_text(json.dumps({**about, "figures": figures, "ratio": ratio}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
