"""What this package's own server answers, beside a bare web app that awaits the same program, in one run.

Run it as a module, `python -m benchmarks.server`, from the root of the checkout.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.cpu import cpu_seconds_of_session, memory_of_session
from benchmarks.figures import headline, summary, surroundings, table
from benchmarks.loading import given_by, parser_of
from benchmarks.server.contenders import CONTENDERS, Server, served, variables_of
from benchmarks.server.kept import bring, stored
from benchmarks.server.listening import Heard, listen
from benchmarks.serving.__main__ import most_at_once
from benchmarks.serving.lm import language_model
from benchmarks.serving.load import load

LATENCY = 0.2
# Seconds from one word of a stream to the next: 200 streams are 2,000 words a second.
PACE = 0.1
# Seconds that a server may take to end: it finishes what it answers, and writes or keeps its traces.
DRAIN = 180.0
_GOALS = {
    32: "plugin: at least 95% of bare, p99 within 20 ms of it",
    128: "plugin: at least 95% of bare, p99 within 20 ms of it",
    512: "plugin: at least 1.5 times bare",
}
_HEAD = (
    "",
    "requests/s",
    "of bare",
    "p50: ms",
    "p99: ms",
    "p99 less bare's",
    "errors",
    "stall: s",
    "LM at once",
    "CPU: ms",
)
_STREAM_HEAD = ("", "first word: ms", "later words: ms", "streams", "errors", "CPU: ms a word")
Figures = dict[str, Any]


def requests(api_base: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Ask all contenders in turns, by so many clients at a time; and count the traces of the one that traces."""
    found: dict[str, Any] = {}
    answers = 0
    with ExitStack() as stack:
        servers = {name: stack.enter_context(served(name, api_base, folder)) for name in given.contender}
        for clients in given.clients:
            found[str(clients)] = {name: [] for name in servers}
            for turn in range(given.repeat):
                for name in sorted(servers, reverse=turn % 2 == 1):
                    figures = asked(servers[name], clients, given, api_base)
                    answers += figures["answers"] if name == "traced" else 0
                    found[str(clients)][name].append(figures)
            print(f"\n{clients} clients\n{table(rows(found[str(clients)]))}", flush=True)
            print(f"goal: {_GOALS.get(clients, 'none')}", flush=True)
        if "traced" in servers:
            found["traces"] = traces(servers["traced"], answers, folder)
    return found


def asked(server: Server, clients: int, given: argparse.Namespace, api_base: str) -> Figures:
    """What clients see of a server, and what its processes need for a request."""
    most_at_once(api_base)
    before = cpu_seconds_of_session(server.process.pid)
    seen = load(f"{server.url}/invocations", server.body, clients, given.seconds, given.warm_up)
    cpu = cpu_seconds_of_session(server.process.pid) - before
    return {
        "rate": seen.rate,
        **{f"p{percent}": seen.percentile(percent) for percent in (50, 95, 99)},
        "errors": seen.errors,
        "stall": seen.stall,
        "lm": most_at_once(api_base),
        "cpu": cpu / seen.answers if seen.answers else math.nan,
        "answers": seen.answers,
        "load": os.getloadavg()[0],
    }


def traces(server: Server, answers: int, folder: Path) -> Figures:
    """End the server that traces, and count what has become of its traces."""
    ended = server.process.end(DRAIN)
    found = {"answers": answers, "ended with": ended, "stored at its end": stored(server.store)}
    if found["stored at its end"] < answers:
        bring(server.store, answers, variables_of("traced", "", folder), folder)
    found["stored after the next process"] = stored(server.store)
    print(f"\ntraces: {', '.join(f'{name} {value}' for name, value in found.items())}", flush=True)
    print("goal: none is lost", flush=True)
    return found


def rows(figures: Mapping[str, Sequence[Figures]]) -> list[tuple[str, ...]]:
    """The figures of all contenders as a table: medians, with the lowest and the highest in brackets."""

    def middle(name: str, column: str) -> float:
        return statistics.median(each[column] for each in figures[name]) if name in figures else math.nan

    found = [_HEAD]
    for name, measured in figures.items():
        in_ms = {column: summary([each[column] * 1000 for each in measured]) for column in ("p50", "p99", "cpu")}
        found.append(
            (
                name,
                summary([each["rate"] for each in measured]),
                f"{middle(name, 'rate') / middle('bare', 'rate'):.2f}",
                *(in_ms["p50"], in_ms["p99"], f"{(middle(name, 'p99') - middle('bare', 'p99')) * 1000:.0f}"),
                str(sum(sum(each["errors"].values()) for each in measured)),
                *(summary([each[column] for each in measured]) for column in ("stall", "lm")),
                in_ms["cpu"],
            )
        )
    return found


def stream(api_base: str, folder: Path, given: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Have answers streamed, one at a time and many at once, and tell how old their words are when they come."""
    found: dict[str, dict[str, Figures]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(served(name, api_base, folder)) for name in given.contender}
        for clients in given.streams:
            heard = {name: _heard(server, clients, given) for name, server in servers.items()}
            found[str(clients)] = heard
            shown = table([_STREAM_HEAD, *(_stream_row(name, each) for name, each in heard.items())])
            print(f"\n{clients} streams at once, after the language model\n{shown}", flush=True)
            print("goal: plugin within 10 ms, all streams whole", flush=True)
    return found


def _heard(server: Server, clients: int, given: argparse.Namespace) -> Figures:
    path, payload = server.contender.stream
    body = json.dumps(payload).encode()
    # Connections are opened, and all that is imported late.
    listen(server.url + path, body, 1, 0.1)
    before = cpu_seconds_of_session(server.process.pid)
    heard: Heard = listen(server.url + path, body, clients, given.seconds)
    cpu = cpu_seconds_of_session(server.process.pid) - before
    words = len(heard.first) + len(heard.later)
    return {**vars(heard), "cpu": cpu / words if words else math.nan}


def _stream_row(name: str, heard: Figures) -> tuple[str, ...]:
    errors = ", ".join(f"{count} of {error}" for error, count in heard["errors"].items()) or "0"
    ages = (_ages(heard["first"]), _ages(heard["later"]))
    return name, *ages, str(heard["whole"]), errors, f"{heard['cpu'] * 1000:.2f}"


def _ages(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    ms = sorted(each * 1000 for each in seconds)
    return f"{statistics.median(ms):.1f}, p99 {ms[math.ceil(len(ms) * 0.99) - 1]:.1f}"


def memory(api_base: str, folder: Path, given: argparse.Namespace) -> dict[str, Figures]:
    """Look at the memory of a server while it answers some ten thousand requests."""
    found: dict[str, Figures] = {}
    for name in [name for name in given.contender if name != "bare"]:
        with served(name, api_base, folder) as server:
            # Traces take their time.
            found[name] = _remembered(server, given.requests // (10 if name == "traced" else 1), given.seconds)
        shown = [("requests", *map(str, found[name]["requests"]))]
        shown.append(("memory: MB", *(f"{each / 1e6:.1f}" for each in found[name]["memory"])))
        print(f"\n{name}\n{table(shown)}\ngoal: flat", flush=True)
    return found


def _remembered(server: Server, requests: int, seconds: float) -> Figures:
    found: Figures = {"requests": [], "memory": [], "errors": {}}
    answers = 0
    # After the first requests all is there that is needed for one.
    for _ in range(_LOOKS):
        found["requests"].append(answers)
        found["memory"].append(memory_of_session(server.process.pid))
        target = answers + requests // (_LOOKS - 1)
        while answers < target and not found["errors"]:
            seen = load(f"{server.url}/invocations", server.body, 64, min(5.0, seconds), 0)
            answers += seen.answers
            found["errors"] |= seen.errors
    return found


_LOOKS = 11
MEASURES: Mapping[str, tuple[float, Callable[..., Any]]] = {
    "requests": (LATENCY, requests),
    "stream": (LATENCY, stream),
    # What it answers with is the same, and sooner.
    "memory": (0.02, memory),
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables and write the figures."""
    parser = parser_of("benchmarks.server", __doc__, MEASURES, CONTENDERS)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 200], help="how many listen at once")
    parser.add_argument(
        "--requests", type=int, default=50_000, help="how many while memory is looked at; with traces a tenth"
    )
    given = given_by(parser, arguments, MEASURES)
    if given.quick:
        given.streams, given.requests = [2], 100
    about = surroundings("fastapi", "uvicorn", latency=LATENCY, seconds=given.seconds, repeat=given.repeat)
    print(headline(about), flush=True)
    figures = {what: measured(what, given) for what in given.what or MEASURES}
    if given.json:
        given.json.write_text(json.dumps({**about, "figures": figures}, indent=2), encoding="utf-8")


def measured(what: str, given: argparse.Namespace) -> Any:
    """The figures of one measure, with a language model and folders of its own."""
    latency, measure = MEASURES[what]
    with tempfile.TemporaryDirectory() as folder, language_model(latency, PACE) as api_base:
        return measure(api_base, Path(folder), given)


if __name__ == "__main__":
    main()
