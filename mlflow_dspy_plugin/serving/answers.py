"""The answer of one row: what the program returned for it, or its error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.seams.spark import in_spark_task
from mlflow_dspy_plugin.serving.calls import Ending, acall, call
from mlflow_dspy_plugin.serving.failures import failing_clearly
from mlflow_dspy_plugin.serving.inputs import Rows, arguments_of
from mlflow_dspy_plugin.serving.nothing import check_read
from mlflow_dspy_plugin.serving.outputs import plain
from mlflow_dspy_plugin.serving.params import ROW, Params
from mlflow_dspy_plugin.tracing.predictions import trace_id_of


@dataclass(frozen=True)
class Answers:
    """Answers the rows of one request.

    Attributes:
        program: What is called for each.
        fields: What it takes and gives.
        rows: The rows.
        asked: What the request asks for beside.
    """

    program: dspy.Module
    fields: Fields
    rows: Rows
    asked: Params

    def of(self, place: int) -> Any:
        """The answer of a row, by its place.

        Raises:
            MlflowException: Why there is none, unless the request asks for that in the row's place.
        """
        return self._of(place, Ending.of(lambda: call(self.program, *self.arguments(place))))

    async def aof(self, place: int, in_loop: bool) -> Any:
        """The answer of a row, without holding up the event loop that runs; else as `of`.

        Args:
            place: The row's.
            in_loop: Whether the program may run in that loop.
        """
        read = Ending.of(lambda: self.arguments(place))
        ending = read if read.error else await acall(self.program, *read.outputs, in_loop)
        return self._of(place, ending)

    def arguments(self, place: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments of the call for a row.

        Raises:
            InputError: If it does not fit the program.
        """
        try:
            return arguments_of(self.rows.at(place), self.fields)
        except RecursionError:
            raise InputError("A value is nested too deeply to be read. Send a flatter one.") from None

    def _of(self, place: int, ending: Ending) -> Any:
        row = self._label(place)
        try:
            with failing_clearly(row):
                outputs = ending.result()
            answer = self._plain(outputs, row)
        except MlflowException as failure:
            if self.asked.on_error != ROW:
                raise
            return self._with(dict.fromkeys(self.fields.outputs or ()), None, failure)
        return self._with(answer, outputs, None)

    def whole(self, outputs: Any) -> Any:
        """The answer that is made of what the program returned.

        Raises:
            CallError: If it is none.
        """
        return self._with(self._plain(outputs), outputs, None)

    def _plain(self, outputs: Any, row: str | None = None) -> Any:
        with failing_clearly(row, "its answer cannot be made of values that JSON has:"):
            check_read(outputs, self.program, self.fields)
            return plain(outputs)

    def _label(self, place: int) -> str | None:
        if self.rows.count == 1:
            return None
        index = "" if self.rows.index is None else f" (index {plain(self.rows.index[place])!r})"
        return f"Row {place} of {self.rows.count}{index}"

    def _with(self, answer: Any, outputs: Any, failure: MlflowException | None) -> Any:
        """An answer with what the request asks for beside it."""
        beside: dict[str, Any] = {}
        if self.asked.on_error == ROW:
            beside[names.ANSWER_ERROR] = failure.message if failure else _no_error()
        if self.asked.return_trace_id:
            beside[names.ANSWER_TRACE_ID] = trace_id_of(outputs)
        if not beside:
            return answer
        fields = answer if isinstance(answer, Mapping) else {names.ANSWER_OUTPUT: answer}
        if taken := sorted(set(beside) & set(fields)):
            raise InputError(
                f"The program has an output {', '.join(taken)} of its own, so {names.PARAM_ON_ERROR} and "
                f"{names.PARAM_TRACE_ID} cannot be asked for. Leave them out, or rename the output."
            )
        return {**fields, **beside}


def _no_error() -> str | None:
    """What stands for no error: MLflow's function for Spark writes None among texts as "None"."""
    return "" if in_spark_task() else None
