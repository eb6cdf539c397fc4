"""A process that saves the programs of `notebook_cases`, or loads them: `python -m integration.notebook_process`.

What each program did goes to a file, as JSON.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import dspy
import mlflow
from mlflow.models import Model

from integration.notebook_cases import ANSWERS, CASES, Case
from tests.fakes.scripted import scripted_lm
from tests.packaging.cells import run_cells, run_script

_PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


class Warnings(logging.Handler):
    """Keeps what the plugin warns of."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def main_of(case: Case, how: str, script: Path) -> dict[str, Any]:
    """Run a program's source; returns the names that are in `__main__` then."""
    if how == "cells":
        return run_cells(case.cells)
    names = run_script(case.cells, script)
    if case.edited:
        script.write_text(script.read_text().replace(*case.edited))
    return names


def asked(program: dspy.Module, case: Case) -> dict[str, Any]:
    """What a program answers, and what it has sent to the language model for it."""
    lm = scripted_lm(ANSWERS)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        try:
            found = getattr(program, case.how)(**case.asked)
            told = repr(dict(asyncio.run(found) if case.how == "acall" else found))
        except Exception as error:
            told = repr(error)
    return {"told": told, "prompts": repr(lm.script.requests)}


def save(case: Case, model: Path, how: str, warnings: Warnings) -> dict[str, Any]:
    """Run and save a program; load it again here."""
    program = main_of(case, how, model.with_suffix(".py"))["program"]
    warnings.texts.clear()
    try:
        mlflow.dspy.save_model(program, model)
    except mlflow.MlflowException as error:
        return {"saved": type(error).__name__, "warned": [str(error)], "wrote": model.exists(), **asked(program, case)}
    warned = list(warnings.texts)
    here = mlflow.dspy.load_model(model)
    return {
        "saved": format_of(model),
        "warned": warned,
        **asked(program, case),
        "same class": type(here) is type(program),
        "here": None if case.of_globals else asked(here, case),
    }


def load(case: Case, model: Path, again: Path) -> dict[str, Any]:
    """Load a program, ask it and save it again."""
    refused = None
    try:
        program = mlflow.dspy.load_model(model)
    except mlflow.MlflowException as error:
        refused = str(error)
        os.environ[_PICKLES] = "true"
        program = mlflow.dspy.load_model(model)
        os.environ[_PICKLES] = "false"
    mlflow.dspy.save_model(program, again)
    return {"saved again": format_of(again), "refused": refused, **asked(program, case)}


def format_of(model: Path) -> str:
    """The format that a program was saved in."""
    return Model.load(str(model)).flavors["dspy"]["serialization_format"]


def main() -> None:
    """Save to a folder, or load from one and save to another."""
    warnings = Warnings()
    logging.getLogger("mlflow_dspy_plugin").addHandler(warnings)
    logging.getLogger("mlflow_dspy_plugin").setLevel(logging.WARNING)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    what, how, folder, result = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    done = {}
    for number, (name, case) in enumerate(CASES[how].items()):
        model = folder / str(number)
        if what == "save":
            done[name] = save(case, model, how, warnings)
        elif model.exists():
            done[name] = load(case, model, result.parent / result.stem / str(number))
    result.write_text(json.dumps(done))


if __name__ == "__main__":
    main()
