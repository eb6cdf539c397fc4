"""MLflow's protocol of `/invocations`: how its scoring server reads a request and writes an answer."""

import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.utils import _enforce_params_schema
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.pyfunc.context import Context, set_prediction_context
from mlflow.pyfunc.utils.serving_data_parser import is_unified_llm_input
from mlflow.types import DataType

from mlflow_dspy_plugin.errors import InputError

_PARAMS = "params"
# The types of bodies that are read.
FORMATS = tuple(scoring_server.CONTENT_TYPES)


@dataclass(frozen=True)
class Read:
    """A request, as the model gets it.

    Attributes:
        data: The input, checked against the model's signature.
        params: The params, checked too.
        is_unwrapped: Whether the answer is written without the key `predictions`.
    """

    data: Any
    params: dict[str, Any] | None
    is_unwrapped: bool


class UnsupportedError(MlflowException):
    """A request is of a type that is not read.

    Attributes:
        status: The status of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def get_http_status_code(self) -> int:
        """The status of HTTP, which is none of those that MLflow's codes have."""
        return self.status


class _Reached(BaseException):
    """Ends MLflow's reading where it would call the model; no `Exception`, since MLflow takes those for its failure."""

    def __init__(self, data: Any, params: dict[str, Any] | None) -> None:
        super().__init__()
        self.data, self.params = data, params


class _Model:
    """Stands for the model that MLflow calls."""

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> None:
        """Say what it is called with."""
        raise _Reached(data, params)


class Invocations:
    """Reads the requests for a model.

    Args:
        metadata: The model's `MLmodel` file.
    """

    def __init__(self, metadata: Model) -> None:
        self._metadata = metadata
        self._model = PyFuncModel(metadata, _Model())
        self._schema, self._params = metadata.get_input_schema(), metadata.get_params_schema()
        self._required, self._texts = _texts_of(self._schema)

    def read(self, body: bytes | dict[str, Any], content_type: str) -> Read:
        """Read a request as MLflow's scoring server does.

        Args:
            body: In one of its formats; of JSON, what is read of it does as well.
            content_type: Says which, as the header of HTTP does.

        Raises:
            MlflowException: If it is in none, or does not fit the model's signature.
            UnsupportedError: If that type is not read.
        """
        told = decoded(body, content_type)
        if (row := self._row(told)) is not None:
            return Read(row, _enforce_params_schema(told.get(_PARAMS), self._params), False)
        is_unwrapped = isinstance(told, dict) and is_unified_llm_input(told)
        try:
            response = scoring_server.invocations(told, content_type, self._model, self._schema)
        except _Reached as reached:
            return Read(reached.data, reached.params, is_unwrapped)
        except MlflowException as error:
            raise InputError(_reason(error.message), ErrorCode.Value(error.error_code)) from None
        raise UnsupportedError(response.response, response.status)

    def answering(self) -> AbstractContextManager[Any]:
        """A block in which MLflow knows which model answers."""
        return set_prediction_context(Context(model_id=self._metadata.model_id))

    def _row(self, told: Any) -> Mapping[str, str] | None:
        """The only row, where there is nothing to cast: pandas takes longer than all else that is done for it."""
        if not self._texts or not isinstance(told, dict) or set(told) - {_PARAMS} not in ({_RECORDS}, {_INPUTS}):
            return None
        rows = told[_RECORDS] if _RECORDS in told else [told[_INPUTS]]
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
            return None
        row = rows[0]
        fits = self._required <= row.keys() <= self._texts and all(type(value) is str for value in row.values())
        return row if fits else None


def _reason(message: str) -> str:
    """Why MLflow refuses an input: it quotes all of that first, twice."""
    reason = message.rpartition("Error: ")[2].strip()
    return reason[:_LONGEST] or message[:_LONGEST]


_LONGEST = 4_000
_RECORDS, _INPUTS = scoring_server.DF_RECORDS, scoring_server.INPUTS


def _texts_of(schema: Any) -> tuple[set[str], set[str]]:
    """The names of the columns that have to be there and of all, where all are texts."""
    if schema is None or not schema.has_input_names() or schema.is_tensor_spec():
        return set(), set()
    if not all(column.type == DataType.string for column in schema.inputs):
        return set(), set()
    return set(schema.required_input_names()), set(schema.input_names())


def decoded(body: bytes | dict[str, Any], content_type: str) -> Any:
    """A JSON object as a dict; anything else as it is, for MLflow to say what is wrong with it.

    Raises:
        InputError: If it is nested too deeply to be read.
    """
    if isinstance(body, dict) or content_type.partition(";")[0].strip() != scoring_server.CONTENT_TYPE_JSON:
        return body
    try:
        told = json.loads(body)
    except RecursionError:
        raise InputError("The JSON of the request is nested too deeply to be read. Send a flatter one.") from None
    except ValueError:
        return body
    return told if isinstance(told, dict) else body


def written(answer: Any, is_unwrapped: bool) -> str:
    """An answer as the JSON that MLflow's scoring server makes of it."""
    write = scoring_server.unwrapped_predictions_to_json if is_unwrapped else scoring_server.predictions_to_json
    file = io.StringIO()
    write(answer, file)
    return file.getvalue()
