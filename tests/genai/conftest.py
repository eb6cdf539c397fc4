"""Items of an evaluation, and a program whose LM always answers "a"."""

import dspy
import mlflow
import pytest
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

from tests.fakes.scripted import scripted_lm

ITEMS = [
    {"inputs": {"question": str(number)}, "expectations": {"answer": "a" if number else "b"}} for number in range(4)
]
DEVSET = [dspy.Example(**item["inputs"], **item["expectations"]).with_inputs("question") for item in ITEMS]


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


@pytest.fixture(autouse=True)
def lm(store, monkeypatch):
    # After `mlflow.autolog(disable=True)`, with which other tests end, MLflow traces no evaluation.
    monkeypatch.delitem(AUTOLOGGING_INTEGRATIONS, "mlflow", raising=False)
    lm = scripted_lm({"answer": "a"})
    dspy.configure(lm=lm)
    yield lm
    assert mlflow.active_run() is None


@pytest.fixture
def program():
    return dspy.Predict("question -> answer")
