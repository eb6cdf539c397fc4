"""Logging and loading by this plugin, measured beside MLflow's own DSPy flavor in one run.

Run it as a module, `python -m benchmarks.packaging`, from the root of the checkout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import headline, ratio, summary, surroundings, table
from benchmarks.packaging_child import LATER_CALLS
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

ROOT = Path(__file__).parents[1]
# A flavor -> the package that answers for `mlflow.dspy`, and what switches to it.
FLAVORS = {"plugin": ("mlflow_dspy_plugin", "true"), "mlflow": ("mlflow", "false")}
# A measure -> its goal, in words.
MEASURES = {
    "log_model: LM calls": "0 against 3",
    "log_model, first call: s": "at most a tenth",
    "log_model, later calls: s": "at most a tenth",
    "dspy.load_model, fresh process: s": "no slower",
    "dspy.load_model, warm: s": "no slower",
    "pyfunc.load_model, fresh process: s": "no slower",
    "pyfunc.load_model, warm: s": "no slower",
    "model folder: bytes": "no larger",
    "its data folder: bytes": "no larger",
}
Figures = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Bench:
    """Where the measured processes run.

    Attributes:
        folder: A temporary folder, with the store and the saved models.
        lm: The language model, which counts its calls.
    """

    folder: Path
    lm: OpenAIServer

    def child(self, flavor: str, *arguments: object) -> dict[str, Any]:
        """Run one process by a flavor and return what it measured.

        Raises:
            RuntimeError: If it fails, or runs by the other flavor.
        """
        package, switch = FLAVORS[flavor]
        command = [sys.executable, "-m", "benchmarks.packaging_child", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(switch), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        figures = json.loads(done.stdout.splitlines()[-1])
        if figures["flavor"] != package:
            raise RuntimeError(f"mlflow.dspy is {figures['flavor']}, not {package}: is mlflow-dspy-plugin installed?")
        return figures

    def _environment(self, switch: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DSPY_"))}
        return {
            **kept,
            "MLFLOW_DSPY_PLUGIN": switch,
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "DSPY_CACHEDIR": str(self.folder / "cache"),
            "OPENAI_API_KEY": "none",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }


def measure(repeat: int) -> Figures:
    """Measure everything; the flavors take turns, so that both meet the same machine.

    Args:
        repeat: How many processes of each kind each flavor gets.
    """
    figures: Figures = {name: defaultdict(list) for name in MEASURES}
    models = {"benchmark": lambda messages, body: chat_text({"reasoning": "It says so.", "answer": "The black bear."})}
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(models) as lm:
        bench = Bench(Path(folder), lm)
        for flavor in FLAVORS:
            measure_size(bench, flavor, figures)
        for turn in range(repeat):
            for flavor in sorted(FLAVORS, reverse=turn % 2 == 0):
                measure_logging(bench, flavor, figures)
                for api in ("dspy", "pyfunc"):
                    measure_loading(bench, flavor, api, figures)
    return figures


def measure_size(bench: Bench, flavor: str, figures: Figures) -> None:
    """Save the model that is loaded later."""
    saved = bench.child(flavor, "save", bench.lm.base_url, bench.folder / flavor)
    figures["model folder: bytes"][flavor].append(saved["folder"])
    figures["its data folder: bytes"][flavor].append(saved["data"])


def measure_logging(bench: Bench, flavor: str, figures: Figures) -> None:
    """Log in a fresh process."""
    before = bench.lm.request_count
    logged = bench.child(flavor, "log", bench.lm.base_url)
    figures["log_model: LM calls"][flavor].append((bench.lm.request_count - before) / (1 + LATER_CALLS))
    figures["log_model, first call: s"][flavor].append(logged["first"])
    figures["log_model, later calls: s"][flavor] += logged["later"]


def measure_loading(bench: Bench, flavor: str, api: str, figures: Figures) -> None:
    """Load in a fresh process; its time is that from the start of Python to the loaded model."""
    start = time.time()
    loaded = bench.child(flavor, "load", api, bench.folder / flavor)
    figures[f"{api}.load_model, fresh process: s"][flavor].append(loaded["loaded_at"] - start)
    figures[f"{api}.load_model, warm: s"][flavor] += loaded["warm"]


def rows(figures: Figures) -> list[tuple[str, ...]]:
    """The figures as a table: medians, with the lowest and the highest in brackets."""
    found = [("", *FLAVORS, "ratio", "goal")]
    for name, goal in MEASURES.items():
        ours, theirs = (statistics.median(figures[name][flavor]) for flavor in FLAVORS)
        found.append((name, *(summary(figures[name][flavor]) for flavor in FLAVORS), ratio(ours, theirs), goal))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packaging", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="processes of each kind for each flavor")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    given = parser.parse_args(arguments)
    about, figures = surroundings(repeat=given.repeat), measure(given.repeat)
    print(headline(about))
    print(table(rows(figures)))
    if given.json:
        given.json.write_text(json.dumps({**about, "figures": figures}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
