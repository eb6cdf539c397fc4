"""The command `mlflow-dspy`."""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_dspy_plugin import __version__
from mlflow_dspy_plugin.errors import DspyNotInstalledError

if TYPE_CHECKING:
    from mlflow_dspy_plugin.quickstart.story import Outcome

_FOLDER = Path("mlflow-dspy-quickstart")
# Those of `quickstart.story.run`.
_STAGES = 5
# The keys of `quickstart.optimizers.RECIPES`, which cannot be imported without dspy.
OPTIMIZERS = ("simba", "bootstrap", "random-search", "labeled", "gepa")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.model is None:
        # Nothing is called that has a price, so LiteLLM need not wait for a list of prices.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return _quickstart(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlflow-dspy", description="DSPy in MLflow.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    quickstart = commands.add_parser(
        "quickstart",
        help="optimize, log and load a DSPy program, with no key, network or server",
        description="Optimize a text classifier, log it, load it back and say what to do next. "
        "By default its language model is a small in-context classifier inside this package, "
        "which answers by comparing words: it is real enough to be optimized, and no LLM.",
    )
    quickstart.add_argument("--optimizer", choices=OPTIMIZERS, default=OPTIMIZERS[0])
    quickstart.add_argument(
        "--model", help="a LiteLLM name such as openai/gpt-4o-mini; its key is read from the environment"
    )
    quickstart.add_argument(
        "--data", type=Path, metavar="FILE.tsv", help="your own tab-separated rows with a header label, text"
    )
    quickstart.add_argument("--folder", type=Path, default=_FOLDER, help="where to keep the store")
    return parser


def _quickstart(options: argparse.Namespace) -> int:
    folder = options.folder.absolute()
    log = folder / "quickstart.log"
    lm = options.model or "the in-context classifier of this package (no LLM, no key, no network)"
    print(f"Language model: {lm}")
    try:
        outcome = _run(options, folder, log)
    except Exception as error:
        print(f"The quickstart stopped: {error}", file=sys.stderr)
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
            print(f"The traceback, and what was printed on the way: {log}", file=sys.stderr)
        return 1
    print(_report(outcome))
    return 0


def _run(options: argparse.Namespace, folder: Path, log: Path) -> "Outcome":
    folder.mkdir(parents=True, exist_ok=True)
    if find_spec("dspy") is None:
        raise DspyNotInstalledError()
    # Both import dspy or what comes with it; `--help` works without.
    from mlflow_dspy_plugin.progress import Progress

    with Progress(log, stages=_STAGES) as progress:
        from mlflow_dspy_plugin.quickstart import story

        return story.run(folder, options.optimizer, options.model, options.data, progress)


def _report(outcome: "Outcome") -> str:
    """The numbers, the run, and the commands to go on with."""
    store = shlex.quote(outcome.store)
    question = shlex.quote(json.dumps({"inputs": [outcome.question]}))
    return f"""
Accuracy on {outcome.unseen} unseen texts: {outcome.before:.0%} before, {outcome.after:.0%} after.
The program came back from MLflow as DSPy and as pyfunc, and gave the same answers.

Run:   {outcome.run_id}
Model: {outcome.model_uri}

Look at the run, its model and its traces:
  {_on_path()}mlflow ui --backend-store-uri {store} --port 5000

Serve the model, and ask it from another shell:
  {_on_path()}MLFLOW_TRACKING_URI={store} mlflow models serve -m {shlex.quote(outcome.model_uri)} \\
    --env-manager local --port 5001
  curl -s http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d {question}
"""


def _on_path() -> str:
    """What puts this environment first on the path, where it is not activated."""
    here = Path(sys.executable).parent
    found = shutil.which("mlflow")
    return "" if found and Path(found).parent == here else f"PATH={shlex.quote(str(here))}:$PATH "
