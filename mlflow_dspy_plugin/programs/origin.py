"""Which logged model a program was loaded from."""

from typing import Any

from mlflow_dspy_plugin.programs.by_identity import ByIdentity

# A copy of a loaded program that is optimized further is not what was logged: nothing follows it there.
_model_ids: ByIdentity[str] = ByIdentity()


def remember_origin(program: Any, model_id: str | None) -> None:
    """Note the model that a program was loaded from, as long as the program is there."""
    if model_id is not None:
        _model_ids.set(program, model_id)


def origin_of(program: Any) -> str | None:
    """The id of the logged model that a program was loaded from; None where it was not."""
    return _model_ids.get(program)
