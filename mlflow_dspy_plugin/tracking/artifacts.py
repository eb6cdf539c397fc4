"""What a run holds of a program, its language model and its examples, in MLflow's own file names."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.recording.runs import Run
from mlflow_dspy_plugin.redaction import is_secret_name
from mlflow_dspy_plugin.tracking.plain_values import as_json, plain

_LM_ATTRIBUTES = ("model", "model_type", "cache", "temperature", "max_tokens")
# Parts of a program's state that say nothing of what an optimizer changed.
_NOT_PARAMETERS = {"metadata", "lm", "traces", "train"}
# What every MLflow store takes for a parameter.
LONGEST_PARAMETER, LONGEST_NAME = 6000, 250
_LEFT_OUT = "... [the rest is in the run's artifacts]"


def write_program(run: Run, program: Any, file: str) -> None:
    """Write the state of a program (instructions, demos) as a JSON artifact."""
    state = state_of(program)
    if state is not None:
        run.text(json.dumps(state, ensure_ascii=False, indent=2), file)


def state_of(program: Any) -> Any:
    """The state of a program as plain JSON; None where it has none that can be read."""
    return attempt(lambda: _without_secrets(plain(program.dump_state())), lambda error: None)


def program_parameters(program: Any) -> dict[str, str]:
    """The state of a program as flat parameters."""
    prefix = type(program).__name__
    return parameters({f"{prefix}.{key}": value for key, value in _flat(state_of(program))})


def lm_parameters() -> dict[str, str]:
    """The configured language model as the parameter `lm_params`."""
    lm = dspy.settings.lm
    if lm is None:
        return {}
    told = _without_secrets(plain(dict(getattr(lm, "kwargs", None) or {})))
    told.pop("api_base", None)
    known = {name: plain(getattr(lm, name, None)) for name in _LM_ATTRIBUTES}
    told.update({name: value for name, value in known.items() if value is not None})
    return parameters({"lm_params": json.dumps(told, sort_keys=True)})


def parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as parameters that MLflow takes: names without what it refuses, texts of limited length."""
    return {safe_name(name) or "_": _value(value) for name, value in values.items() if not is_secret_name(name)}


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as MLflow's `log_table` writes them; a row without a column has None there."""
    read = (plain(dict(row)) for row in rows)
    return table_of_plain([row if isinstance(row, dict) else {} for row in read])


def table_of_plain(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same of rows that are plain JSON without secrets."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return as_json({"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]})


def safe_name(name: str) -> str:
    """A name that MLflow takes for a parameter or a metric, which it may treat as the path of a file."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() or letter in "_-. /" else "_" for letter in name)
    parts = (part for part in kept[:LONGEST_NAME].split("/") if part.strip(".") and part.strip())
    return "/".join(parts)


def _value(value: Any) -> str:
    told = value if isinstance(value, str) else str(value)
    return told if len(told) <= LONGEST_PARAMETER else told[: LONGEST_PARAMETER - len(_LEFT_OUT)] + _LEFT_OUT


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items() if not is_secret_name(str(key))}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


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
