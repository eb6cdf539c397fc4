"""A classifier of Reuters news is evaluated by each of MLflow's tools: as a program, as a logged model, by DSPy's Evaluate."""

import json
import os
from pathlib import Path

import dspy
import mlflow
import pandas as pd

from mlflow_dspy_plugin.quickstart.data import read_rows
from mlflow_dspy_plugin.quickstart.program import TextClassifier

mlflow.set_experiment("Evaluated")
mlflow.dspy.autolog()
dspy.configure(lm=dspy.LM("openai/in-context-classifier", api_base=os.environ["LM_URL"], cache=False, temperature=0.0))
folder = Path(os.environ["REUTERS"])
trainset, devset = (read_rows(folder / name)[:40] for name in ("train.tsv", "test.tsv"))
program = dspy.LabeledFewShot(k=16).compile(
    TextClassifier({example.label for example in [*trainset, *devset]}), trainset=trainset
)


def right_label(example, prediction, trace=None):
    """Whether the label is right, and which one is."""
    score = example.label == prediction.label
    return dspy.Prediction(score=float(score), feedback=f"The right label is {example.label}.")


class Kinder(dspy.Module):
    """Takes a label for right that begins as the right one does."""

    def forward(self, label: str, expected_label: str):
        return dspy.Prediction(close=label[:1] == expected_label[:1], rationale=f"{label} for {expected_label}")


uri = mlflow.dspy.log_model(program, name="classifier").model_uri
items = [{"inputs": {"text": each.text}, "expectations": {"label": each.label}} for each in devset]
scorers = [mlflow.dspy.scorer(right_label), mlflow.dspy.judge(Kinder(), "close")]
of_program = mlflow.genai.evaluate(data=items, predict_fn=program, scorers=scorers)
of_model = mlflow.genai.evaluate(data=items, predict_fn=mlflow.dspy.to_predict_fn(uri), scorers=scorers)
with mlflow.start_run() as run:
    by_dspy = mlflow.models.evaluate(
        uri,
        pd.DataFrame([dict(each) for each in devset]),
        targets="label",
        model_type="text",
        evaluators="dspy",
        evaluator_config={"metric": right_label, "num_threads": 4},
    )
expected = dspy.Evaluate(devset=devset, metric=right_label, num_threads=4)(program)
result = {
    "score": expected.score,
    "rows": len(devset),
    "model_id": uri.rpartition("/")[2],
    "program": {"run_id": of_program.run_id, "metrics": of_program.metrics},
    "model": {"run_id": of_model.run_id, "metrics": of_model.metrics},
    "dspy": {"run_id": run.info.run_id, "metrics": by_dspy.metrics},
}
Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
