"""A classifier is optimized by GEPA on the quickstart's news and its small language model."""

import dspy
import mlflow

from mlflow_dspy_plugin.quickstart.data import read_rows, split
from mlflow_dspy_plugin.quickstart.lm import in_context_lm
from mlflow_dspy_plugin.quickstart.program import TextClassifier

mlflow.set_experiment("Optimized")
mlflow.dspy.autolog(log_compiles=True, log_evals=True)
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
dspy.configure(lm=in_context_lm())
trainset, _ = split(read_rows(None))


def right_label(example, prediction, trace=None, pred_name=None, pred_trace=None):
    """Whether the label is right, and which one is."""
    score = float(example.label == prediction.label)
    return dspy.Prediction(score=score, feedback=f"The right label is {example.label!r}.")


optimizer = dspy.GEPA(metric=right_label, max_metric_calls=400, reflection_lm=dspy.settings.lm, num_threads=1, seed=0)
optimizer.compile(TextClassifier({example.label for example in trainset}), trainset=trainset)
