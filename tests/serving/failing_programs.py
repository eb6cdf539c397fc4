"""Programs that fail, or answer nothing; in a file of their own, which is shipped with the models and holds no key."""

import os

import dspy
import mlflow
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST


class Raises(dspy.Module):
    """Fails in the way that the question names."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str):
        return getattr(self, f"_{question}")()

    def _wrapped(self):
        try:
            return self.ask(question="BAD")
        except Exception as error:
            raise RuntimeError("the agent failed") from error

    def _direct(self):
        raise RuntimeError(f"cannot call https://x/?api_key={os.environ['OPENAI_API_KEY']}")

    def _chained(self):
        try:
            self._direct()
        except RuntimeError as error:
            raise ValueError("lookup failed") from error

    def _implicit(self):
        try:
            self._direct()
        except RuntimeError:
            raise ValueError("lookup failed")  # noqa: B904 - so do programs

    def _variable(self):
        raise RuntimeError(f"it is {os.environ['BEARS_PASSWORD']}")

    def _own(self):
        raise mlflow.MlflowException(f"no {os.environ['OPENAI_API_KEY']}", error_code=RESOURCE_DOES_NOT_EXIST)

    def _plain(self):
        raise mlflow.MlflowException("no bear", error_code=RESOURCE_DOES_NOT_EXIST)

    def _exit(self):
        raise SystemExit("no such option")

    def _interrupt(self):
        raise KeyboardInterrupt

    def _nothing(self):
        return None

    def _endless(self):
        endless = {}
        endless["again"] = endless
        return endless


class Returns(dspy.Module):
    """Returns what is no answer to a chat."""

    def forward(self, question: str):
        return {"none": None, "empty": [], "blank": dspy.Prediction(answer=None), "later": _later()}[question]


def _later():
    yield "a bear"
