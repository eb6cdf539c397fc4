"""The whole story in one go: a classifier is optimized, measured, logged, loaded back and asked again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import dspy
import mlflow
from dspy.utils.callback import BaseCallback

from mlflow_dspy_plugin.errors import DspyPluginError
from mlflow_dspy_plugin.quickstart.data import read_rows, split
from mlflow_dspy_plugin.quickstart.lm import in_context_lm
from mlflow_dspy_plugin.quickstart.optimizers import compile_with
from mlflow_dspy_plugin.quickstart.program import TextClassifier
from mlflow_dspy_plugin.seams.mlflow import flush_traces

EXPERIMENT = "DSPy Quickstart"
_ASKED_AGAIN = 10


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        store: The tracking URI of the store that holds it all.
        run_id: The run.
        model_uri: The logged program.
        before: Accuracy on unseen texts before optimizing, 0 to 1.
        after: Accuracy on the same texts afterwards.
        unseen: How many unseen texts there were.
        question: One of them, to ask the served model.
    """

    store: str
    run_id: str
    model_uri: str
    before: float
    after: float
    unseen: int
    question: str


class Progress(Protocol):
    """Who is told how far the story is."""

    def begin(self, stage: str) -> None:
        """A stage begins, and the one before it is over."""

    def lm_called(self) -> None:
        """The language model is called."""


def run(folder: Path, optimizer: str, model: str | None, data: Path | None, progress: Progress) -> Outcome:
    """Run the story.

    Args:
        folder: Where the SQLite store and the artifacts go.
        optimizer: A name of `optimizers.RECIPES`.
        model: Any name that `dspy.LM` takes; the small LM of this package if None.
        data: A file of `label`/`text` rows; the news sample of this package if None.
        progress: Is told of each stage and each call of the language model.

    Raises:
        InputError: If the data cannot be used.
        DspyPluginError: If what came back from the store answers otherwise than what was logged.
    """
    train, unseen = split(read_rows(data))
    store = _use_store(folder)
    lm = in_context_lm() if model is None else dspy.LM(model)
    dspy.configure(lm=lm, callbacks=[_CallCounter(progress)])
    with _recorded():
        progress.begin("measure the program as it is")
        program = TextClassifier({example.label for example in train})
        before = _accuracy(program, unseen)
        progress.begin(f"optimize it with {optimizer}")
        compiled = compile_with(optimizer, program, _is_right, train)
        progress.begin("measure it again on the same unseen texts")
        after = _accuracy(compiled, unseen)
        mlflow.log_metrics({"accuracy_before": before, "accuracy_after": after})
        progress.begin("log it as an MLflow model")
        info = mlflow.dspy.log_model(compiled, name="model", input_example=unseen[0].text)
        run_id = mlflow.active_run().info.run_id
    progress.begin("load it back, as DSPy and as pyfunc")
    _check_same_answers(compiled, info.model_uri, [example.text for example in unseen[:_ASKED_AGAIN]])
    return Outcome(store, run_id, info.model_uri, before, after, len(unseen), unseen[0].text)


class _CallCounter(BaseCallback):
    """Tells of each call of the language model."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def on_lm_start(self, call_id, instance, inputs):
        self._progress.lm_called()

    def on_module_start(self, call_id, instance, inputs):
        # dspy 3.0 announces an LM that is no `dspy.LM` as a module.
        if isinstance(instance, dspy.BaseLM):
            self._progress.lm_called()


def _use_store(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(store)
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(EXPERIMENT)
    return store


@contextmanager
def _recorded() -> Iterator[None]:
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)
    try:
        with mlflow.start_run(run_name="quickstart"):
            yield
    finally:
        mlflow.dspy.autolog(disable=True)
        # At the end of the process MLflow can no longer start the threads that store traces.
        flush_traces()


def _is_right(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    return example.label == prediction.label


def _accuracy(program: dspy.Module, examples: list[dspy.Example]) -> float:
    right = sum(_is_right(example, program(text=example.text)) for example in examples)
    return right / len(examples)


def _check_same_answers(program: dspy.Module, model_uri: str, texts: list[str]) -> None:
    as_dspy = mlflow.dspy.load_model(model_uri)
    as_pyfunc = mlflow.pyfunc.load_model(model_uri)
    for text in texts:
        answers = {
            "the program": program(text=text).label,
            "mlflow.dspy.load_model": as_dspy(text=text).label,
            "mlflow.pyfunc.load_model": as_pyfunc.predict(text)["label"],
        }
        if len(set(answers.values())) > 1:
            raise DspyPluginError(f"The loaded model answers otherwise: {answers} for {text!r}.")
