"""One item of an evaluation, between MLflow's form of it and DSPy's."""

from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import ScoringError
from mlflow_dspy_plugin.serving.outputs import plain
from mlflow_dspy_plugin.tracking.plain_values import for_traces, text
from mlflow_dspy_plugin.tracking.results import expected_of, inputs_of

NO_OUTPUT = "There is no output: the program failed, or was not called."
_LONGEST = 300


def example_of(inputs: Any, expectations: Any) -> dspy.Example:
    """What MLflow knows of an item before the program runs, as an example.

    Raises:
        ScoringError: If the inputs have no names, or a name is both an input and an expectation.
    """
    inputs, expected = _fields(inputs, "inputs"), _fields(expectations, "expectations")
    if both := sorted(set(inputs) & set(expected)):
        raise ScoringError(f"{', '.join(both)} is both an input and an expectation. Rename one of the two.")
    # As a dict, here and below: a field may be called "base".
    return dspy.Example({**inputs, **expected}).with_inputs(*inputs)


def prediction_of(outputs: Any, expectations: Any) -> dspy.Prediction:
    """What MLflow knows of a program's answer, as a prediction.

    Args:
        outputs: A prediction, a dict of its fields, or a bare value, which has the name of the only expectation.
        expectations: A dict, or None.

    Raises:
        ScoringError: If there is no output, or one without a name.
    """
    if isinstance(outputs, dspy.Prediction):
        return outputs
    if outputs is None:
        raise ScoringError(NO_OUTPUT)
    if isinstance(outputs, (Mapping, dspy.Example)):
        return dspy.Prediction(dict(outputs.items()))
    names = list(expectations or ())
    if len(names) != 1:
        raise ScoringError(
            f"The output is a bare value ({type(outputs).__name__}), and the expectations {names} do not tell what it "
            "is called. Have the program return a dict of fields."
        )
    return dspy.Prediction({names[0]: outputs})


def item_of(example: Any, prediction: Any) -> dict[str, Any]:
    """An example and what a program made of it, as what MLflow gives to a scorer; plain values."""
    return {
        "inputs": plain(inputs_of(example)),
        "outputs": plain(prediction),
        "expectations": plain(expected_of(example)),
    }


def failure(what: str, error: BaseException, inputs: Any) -> ScoringError:
    """Why an item has no score; names the item, as far as content may be told."""
    told = text(for_traces(inputs))
    shown = told if len(told) <= _LONGEST else f"{told[:_LONGEST]} ..."
    said = error.message if isinstance(error, ScoringError) else f"{type(error).__name__}: {text(error)}"
    return ScoringError(f"{what} gave no score for the item with the inputs {shown}. {said}")


def _fields(given: Any, what: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ScoringError(f"The {what} are no dict, but a {type(given).__name__}. Give a dict of fields.")
    return dict(given)
