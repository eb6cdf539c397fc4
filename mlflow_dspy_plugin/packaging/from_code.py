"""Models from code: a script that calls `mlflow.models.set_model`, and a compiled state to lay over its program."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any
from uuid import UUID

import dspy
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.errors import ProgramError
from mlflow_dspy_plugin.scrubbing.code_secrets import refuse_secrets_in_source
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.programs import load_state


@dataclass(frozen=True)
class CodeModel:
    """A script, and what it makes.

    Attributes:
        text: The script.
        program: Its program, with the state laid over it.
        state: A state as `dspy.Module.dump_state` gives it, without secrets.
        left_out: The places of the state whose values were left out, see `Scrubber`.
    """

    text: str
    program: dspy.Module
    state: dict[str, Any] | None
    left_out: Mapping[str, str | None]


def read_code_model(path: str | Path, compiled_state: Any, model_config: Mapping[str, Any] | None) -> CodeModel:
    """Run a script once, as loading will, and lay the compiled state over its program.

    Args:
        path: The script.
        compiled_state: An optimized program, its `dump_state()`, the JSON file that its `save` wrote, or None.
        model_config: What `mlflow.models.ModelConfig` reads in the script.

    Raises:
        ProgramError: If there is no such script, it sets no program, or the state is none.
        SecretError: If it holds what looks like a secret.
    """
    script = Path(path)
    if not script.is_file():
        raise ProgramError(
            f"There is no script {str(path)!r}. Give a dspy.Module, or the path of a Python file that calls "
            "mlflow.models.set_model(program)."
        )
    text = script.read_text(encoding="utf-8")
    refuse_secrets_in_source(text, f"The script {script.name}")
    scrubber = Scrubber()
    state = scrubber.scrub(_state_of(compiled_state), "compiled_state")
    program = run_code(script, model_config or {})
    if state is not None:
        lay_over(program, state)
    return CodeModel(text, program, state, scrubber.left_out)


def lay_over(program: dspy.Module, state: dict[str, Any]) -> None:
    """Give a program the state of another one.

    Raises:
        ProgramError: If it is the state of a program with other predictors.
    """
    try:
        load_state(program, state)
    except Exception as error:
        raise ProgramError(
            f"The compiled state does not fit the program of the script ({type(error).__name__}: {error}). It has "
            f"{list(state)}, the program has {[name for name, _ in program.named_predictors()]}. Compile the program "
            "of this script."
        ) from error


def run_code(path: Path, model_config: Mapping[str, Any]) -> dspy.Module:
    """Run a script; returns the program that it sets.

    Raises:
        ProgramError: If it fails, or sets none.
    """
    try:
        model = mlflow_seam.run_model_code(str(path), dict(model_config))
    except MlflowException as error:
        cause = error.__cause__
        reason = f"{type(cause).__name__}: {cause}" if cause else error.message
        raise ProgramError(
            f"The script {path.name} sets no model ({reason}). It is run when it is logged and wherever "
            "it loads: let it call mlflow.models.set_model(program), and give what it reads by "
            "mlflow.models.ModelConfig as model_config."
        ) from cause
    if not isinstance(model, dspy.Module):
        raise ProgramError(
            f"The script {path.name} sets {type(model).__name__} as its model. Call "
            "mlflow.models.set_model(program) with a dspy.Module in it."
        )
    return model


def _state_of(given: Any) -> dict[str, Any] | None:
    """The state as JSON holds it."""
    if given is None:
        return None
    if isinstance(given, dspy.Module):
        given = given.dump_state()
    elif isinstance(given, (str, Path)):
        given = _read_state(Path(given))
    if not isinstance(given, dict):
        raise ProgramError(
            f"The compiled state is {type(given).__name__}. Give an optimized program, its dump_state(), or the JSON "
            "file that program.save(...) wrote."
        )
    try:
        return json.loads(json.dumps(given, default=_as_json))
    except (TypeError, ValueError) as error:
        raise ProgramError(
            f"The compiled state cannot be saved as JSON: {error}. Leave it out of the demos."
        ) from error


def _as_json(value: Any) -> Any:
    """What DSPy's own `save` makes of values that JSON has no word for."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"it holds a {type(value).__qualname__}")


def _read_state(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProgramError(
            f"The compiled state {str(path)!r} cannot be read ({error}). Give the JSON file that "
            "program.save('....json') wrote."
        ) from error
