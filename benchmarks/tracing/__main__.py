"""`python -m benchmarks.tracing`: what is asked for is measured, shown as tables and written as JSON."""

import argparse
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import headline, surroundings
from benchmarks.figures import table as as_text
from benchmarks.tracing import burst, caller, contention, disabled, export, memory
from benchmarks.tracing.bench import Bench
from benchmarks.tracing.contenders import CONTENDERS
from benchmarks.tracing.discard import SCHEME
from benchmarks.tracing.sizes import FULL, QUICK, Sizes
from benchmarks.tracing.stores import STORES

OPENINFERENCE = ("openinference-instrumentation-dspy", "opentelemetry-exporter-otlp-proto-http")
# What can be measured -> by what, and the stores that it sends to if none are asked for.
MEASURES = {
    "caller": (caller, ("server",)),
    "contention": (contention, STORES),
    "disabled": (disabled, ("sqlite",)),
    "export": (export, STORES),
    "burst": (burst, STORES),
    "memory": (memory, (SCHEME,)),
}


def measure(what: list[str], stores: list[str] | None, sizes: Sizes) -> dict[str, Any]:
    """Measure what is asked for, and print each table when it is there."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in what:
            module, possible = MEASURES[name]
            for kind in stores or possible:
                with bench.store(kind) as store:
                    found = module.measure(bench, store, sizes)
                title = module.TITLE.format(kind=kind, calls=sizes.burst)
                print(f"\n{title}\n{as_text(found['table'])}\n{module.GOAL}", flush=True)
                figures.setdefault(name, {})[kind] = found
    return figures


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(MEASURES)}; without a name, all of them")
    parser.add_argument("--repeat", type=int, help="sets of processes for what is measured in rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each set")
    parser.add_argument("--calls", type=int, help="calls of `burst` and `memory`")
    parser.add_argument("--store", action="append", choices=(*STORES, SCHEME), help="where traces go")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    given = parser.parse_args(arguments)
    if unknown := set(given.what) - set(MEASURES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    return given


def sizes_of(given: argparse.Namespace) -> Sizes:
    """How much is asked for."""
    sizes = QUICK if given.quick else FULL
    if given.repeat:
        sizes = replace(sizes, repeat=given.repeat)
    if given.rounds:
        sizes = replace(sizes, rounds=given.rounds)
    if given.calls:
        sizes = replace(sizes, burst=given.calls, memory=given.calls)
    return sizes


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables and write the figures."""
    given = parse(arguments)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    sizes = sizes_of(given)
    about = surroundings(*OPENINFERENCE, **asdict(sizes))
    print(headline(about), flush=True)
    if not CONTENDERS["openinference"].installed:
        print(f"OpenInference is left out; with it: pip install {' '.join(OPENINFERENCE)}")
    figures = measure(given.what or list(MEASURES), given.store, sizes)
    if given.json:
        given.json.write_text(json.dumps({**about, "figures": figures}, indent=2, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
