"""How much is done at a time: rows of a request, and requests of MLflow's scoring server."""

import os
from pathlib import Path
from typing import Any

import dspy
from mlflow.models import Model

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import never_raises, warn
from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.seams.scoring_server import answer_by, loads_for_server
from mlflow_dspy_plugin.serving.answering import Answering

_REQUESTS, _WAITING = 64, 1024


def rows_at_a_time() -> int:
    """How many rows of a request are answered at a time: what the environment says, else DSPy's `num_threads`.

    Raises:
        SettingError: If the environment says what is no number from 1 on.
    """
    return max(_number(names.ENV_PREDICT_THREADS, dspy.settings.num_threads or 1), 1)


@never_raises
def pace_server(model: Any, folder: Path) -> None:
    """Where MLflow's scoring server is loading the model: have it answer as many requests as a language model takes.

    With MLFLOW_DSPY_SERVING_CONCURRENCY=0 it keeps its own pace.

    Args:
        model: What it is loading.
        folder: Where it lies.
    """
    if not loads_for_server():
        return
    requests, waiting = (
        number_of_server(names.ENV_SERVING_CONCURRENCY, _REQUESTS),
        number_of_server(names.ENV_SERVING_QUEUE, _WAITING),
    )
    if requests:
        answer_by(Answering(model, Model.load(folder), requests, waiting).text)


def number_of_server(variable: str, otherwise: int) -> int:
    """What a variable says, or its default: one that is ill set is no reason not to serve."""
    try:
        return _number(variable, otherwise)
    except SettingError as error:
        warn("%s The server goes on with %s.", error.message, otherwise)
        return otherwise


def _number(variable: str, otherwise: int) -> int:
    told = os.environ.get(variable, "").strip()
    if told and not told.isdecimal():
        raise SettingError(f"The environment variable {variable} is {told!r}. Set it to a whole number, or unset it.")
    return int(told) if told else otherwise
