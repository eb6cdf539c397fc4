"""What a run holds of a program, its language model and its examples, in MLflow's own file names."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dspy
import mlflow
from mlflow.tracking import MlflowClient

from mlflow_dspy_plugin.redaction import is_secret_name, redact_text

_LM_ATTRIBUTES = ("model", "model_type", "cache", "temperature", "max_tokens")
# Parts of a program's state that say nothing of what an optimizer changed.
_NOT_PARAMETERS = {"metadata", "lm", "traces", "train"}


def log_program(program: dspy.Module, file_name: str) -> None:
    """Log the state of a program (instructions, demos) as a JSON artifact of the active run."""
    state = json.dumps(_without_secrets(program.dump_state()), default=str, indent=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file_name)
        path.write_text(state, encoding="utf-8")
        mlflow.log_artifact(str(path))


def log_program_parameters(program: dspy.Module) -> None:
    """Log the state of a program as flat parameters of the active run."""
    state = _without_secrets(program.dump_state())
    prefix = type(program).__name__
    log_parameters({f"{prefix}.{key}": value for key, value in _flat(state)})


def log_parameters(parameters: Mapping[str, Any]) -> None:
    """Log parameters of the active run without secrets; one that it has keeps its first value.

    MLflow refuses to change a parameter, and with it the whole batch.
    """
    known = MlflowClient().get_run(mlflow.active_run().info.run_id).data.params
    new = {key: value for key, value in _without_secrets(parameters).items() if key not in known}
    if new:
        mlflow.log_params(new)


def log_lm() -> None:
    """Log the configured language model as the parameter `lm_params` of the active run."""
    lm = dspy.settings.lm
    if lm is None:
        return
    parameters = _without_secrets(dict(getattr(lm, "kwargs", None) or {}))
    parameters.pop("api_base", None)
    attributes = {name: getattr(lm, name, None) for name in _LM_ATTRIBUTES}
    parameters.update({name: value for name, value in attributes.items() if value is not None})
    log_parameters({"lm_params": json.dumps(parameters, default=str, sort_keys=True)})


def log_examples(examples: Iterable[dspy.Example], file_name: str) -> None:
    """Log examples as a table of the active run, a column a field."""
    log_rows([dict(example.items()) for example in examples], file_name)


def log_rows(rows: list[Mapping[str, Any]], file_name: str) -> None:
    """Log rows as a table of the active run; a row without a column's field has None there."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if columns:
        table = {name: [_cell(row.get(name)) for row in rows] for name in columns}
        mlflow.log_table(table, file_name)


def _cell(value: Any) -> Any:
    """A value that a JSON table can hold."""
    plain = isinstance(value, (str, int, float, bool, type(None), list, dict))
    return value if plain else str(value)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items() if not is_secret_name(str(key))}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings and lists by their dotted path."""
    if isinstance(value, Mapping):
        items = [(key, item) for key, item in value.items() if key not in _NOT_PARAMETERS]
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        if value is not None:
            yield path, value
        return
    for key, item in items:
        yield from _flat(item, f"{path}.{key}" if path else str(key))
