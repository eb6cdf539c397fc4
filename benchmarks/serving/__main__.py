"""What is served by this plugin, beside MLflow's own DSPy flavor and a bare web app, in one run.

Run it as a module, `python -m benchmarks.serving`, from the root of the checkout.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.cpu import cpu_seconds_of_session
from benchmarks.figures import headline, summary, surroundings, table
from benchmarks.loading import given_by, parser_of
from benchmarks.serving.contenders import CONTENDERS, Server, environment, model_of, served
from benchmarks.serving.lm import language_model
from benchmarks.serving.load import load
from benchmarks.serving.rows import THREADS

LATENCY = 0.2
ROWS = 64
_GOALS = {
    32: "plugin: at least 4 times mlflow, 95% of bare, p95 under 300 ms",
    128: "plugin: at least 9 times mlflow, 65% of bare",
    512: "plugin: no error, no stall",
}
_HEAD = (
    "",
    "requests/s",
    "of mlflow",
    "of bare",
    "p50: ms",
    "p95: ms",
    "p99: ms",
    "errors",
    "stall: s",
    "LM calls at once",
)
_STREAMED_BY = {
    "mlflow": "mlflow: predict_stream",
    "plugin": "plugin: predict_stream",
    "bare": "bare: dspy.streamify",
}
Figures = dict[str, Any]


def requests(api_base: str, folder: Path, given: argparse.Namespace) -> dict[int, dict[str, list[Figures]]]:
    """Serve all contenders, and ask them in turns, by so many clients at a time."""
    found: dict[int, dict[str, list[Figures]]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(served(name, api_base, folder)) for name in given.contender}
        for clients in given.clients:
            found[clients] = {name: [] for name in servers}
            for turn in range(given.repeat):
                for name in sorted(servers, reverse=turn % 2 == 1):
                    figures = asked(servers[name], name, clients, given, api_base)
                    found[clients][name].append(figures)
            print(f"\n{clients} clients\n{table(rows(found[clients]))}", flush=True)
            print(f"goal: {_GOALS.get(clients, 'none')}", flush=True)
    return found


def asked(server: Server, name: str, clients: int, given: argparse.Namespace, api_base: str) -> Figures:
    """What clients see of a contender, and what its processes need for a request."""
    most_at_once(api_base)
    before = cpu_seconds_of_session(server.process)
    seen = load(
        server.url, json.dumps(CONTENDERS[name].payload).encode(), clients, given.seconds, warm_up=given.warm_up
    )
    cpu = cpu_seconds_of_session(server.process) - before
    answered = seen.rate * (given.seconds + given.warm_up)
    return {
        "rate": seen.rate,
        **{f"p{percent}": seen.percentile(percent) for percent in (50, 95, 99)},
        "errors": seen.errors,
        "stall": seen.stall,
        "lm": most_at_once(api_base),
        "cpu": cpu / answered if answered else float("nan"),
        "load": os.getloadavg()[0],
    }


def most_at_once(api_base: str) -> int:
    """How many requests the language model has had at once, at most, since it was asked last."""
    with urllib.request.urlopen(api_base) as response:
        return int(response.read())


def rows(figures: Mapping[str, Sequence[Figures]]) -> list[tuple[str, ...]]:
    """The figures of all contenders as a table: medians, with the lowest and the highest in brackets."""
    rates = {name: statistics.median(each["rate"] for each in measured) for name, measured in figures.items()}
    found = [(*_HEAD, "CPU: ms", "load")]
    for name, measured in figures.items():
        ratios = [f"{rates[name] / rates[other]:.2f}" if rates.get(other) else "-" for other in ("mlflow", "bare")]
        in_ms = [summary([each[column] * 1000 for each in measured]) for column in ("p50", "p95", "p99")]
        errors = str(sum(sum(each["errors"].values()) for each in measured))
        stall, lm, load_ = (summary([each[column] for each in measured]) for column in ("stall", "lm", "load"))
        cpu = summary([each["cpu"] * 1000 for each in measured])
        found.append(
            (name, summary([each["rate"] for each in measured]), *ratios, *in_ms, errors, stall, lm, cpu, load_)
        )
    return found


def batch(api_base: str, folder: Path, given: argparse.Namespace) -> Figures:
    """Time one row and a batch of them."""
    model = model_of("plugin", api_base, folder)
    seconds = measured("plugin", folder, "rows", str(model), str(ROWS), "1" if given.quick else "10")
    row, all_rows = (statistics.median(seconds[name]) for name in ("row", "batch"))
    ratio = all_rows / (row * ROWS / THREADS)
    shown = [
        ("one row: s", f"{ROWS} rows, {THREADS} threads: s", f"of one row times {ROWS}/{THREADS}"),
        (summary(seconds["row"]), summary(seconds["batch"]), f"{ratio:.2f}"),
    ]
    print(f"\npyfunc.predict\n{table(shown)}\ngoal: at most 1.2", flush=True)
    return {**seconds, "ratio": ratio}


def stream(api_base: str, folder: Path, given: argparse.Namespace) -> dict[str, Figures]:
    """Time the words of streams, from the language model to whoever iterates."""
    found: dict[str, Figures] = {name: {"first": [], "later": []} for name in given.contender}
    for _ in range(given.repeat):
        for name in found:
            what = api_base if CONTENDERS[name].flavor is None else str(model_of(name, api_base, folder))
            figures = measured(name, folder, "streams", what, "2" if given.quick else "20")
            found[name] = {which: found[name][which] + figures[which] for which in figures}
    shown = [(_STREAMED_BY[name], *(_in_ms(figures[which]) for which in figures)) for name, figures in found.items()]
    print(f"\n{table([('after the language model', 'first word: ms', 'later words: ms'), *shown])}")
    print("goal: plugin within 10 ms", flush=True)
    return found


def measured(name: str, folder: Path, module: str, *arguments: str) -> Figures:
    """What a measured process of a contender prints."""
    command = [sys.executable, "-m", f"benchmarks.serving.{module}", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, name), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _in_ms(seconds: Sequence[float]) -> str:
    """Median and 99th percentile; a dash where nothing was streamed."""
    if not seconds:
        return "-"
    ms = sorted(each * 1000 for each in seconds)
    return f"{statistics.median(ms):.1f}, p99 {ms[math.ceil(len(ms) * 0.99) - 1]:.1f}"


MEASURES = {"requests": requests, "batch": batch, "stream": stream}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables and write the figures."""
    given = given_by(parser_of("benchmarks.serving", __doc__, MEASURES, CONTENDERS), arguments, MEASURES)
    about = surroundings("fastapi", "uvicorn", latency=LATENCY, seconds=given.seconds, repeat=given.repeat)
    print(headline(about), flush=True)
    with tempfile.TemporaryDirectory() as folder, language_model(LATENCY) as api_base:
        figures = {what: MEASURES[what](api_base, Path(folder), given) for what in given.what or MEASURES}
    if given.json:
        given.json.write_text(json.dumps({**about, "figures": figures}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
