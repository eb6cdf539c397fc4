"""A classifier of Reuters news learns instructions and demos; what it said before and after goes to the prompt registry."""

import json
import os
from pathlib import Path

import dspy
import mlflow

from mlflow_dspy_plugin.quickstart.data import read_rows
from mlflow_dspy_plugin.quickstart.program import TextClassifier

mlflow.set_experiment("Optimized prompts")
dspy.configure(lm=dspy.LM("openai/in-context-classifier", api_base=os.environ["LM_URL"], cache=False, temperature=0.0))
rows = [row for row in read_rows(Path(os.environ["REUTERS"]) / "train.tsv") if len(row.text) < 300][:60]
trainset, devset = rows[:30], rows[30:]
program = TextClassifier({row.label for row in rows})
mlflow.dspy.register_prompts(program, "news", commit_message="As it was written", alias="production")


def right_label(example, prediction, trace=None):
    """Whether the label is right."""
    return example.label == prediction.label


mlflow.dspy.autolog(log_compiles=True)
with mlflow.start_run(run_name="search") as run:
    rules = dspy.SIMBA(metric=right_label, bsize=10, num_candidates=3, max_steps=2, max_demos=0, num_threads=2)
    examples = dspy.BootstrapFewShot(metric=right_label, max_bootstrapped_demos=1, max_labeled_demos=2)
    found = examples.compile(rules.compile(program, trainset=trainset, seed=0), trainset=trainset)
mlflow.dspy.autolog(disable=True)
version = mlflow.dspy.register_prompts(
    found, "news", commit_message="Rules of SIMBA, and two examples", alias="best", run_id=run.info.run_id
)["classify"]
loaded = mlflow.dspy.load_prompts(TextClassifier({row.label for row in rows}), "prompts:/news@best")


def asked(program: dspy.Module) -> list[object]:
    """What it sends its language model, and what it answers."""
    dspy.settings.lm.history.clear()
    label = program(text=devset[0].text).label
    return [label, *(call["messages"] for call in dspy.settings.lm.history)]


result = {
    "run_id": run.info.run_id,
    "template": version.template,
    "demos": [dict(demo) for demo in found.classify.demos],
    "instructions": found.classify.signature.instructions,
    "found": asked(found),
    "loaded": asked(loaded),
    "before": asked(program),
}
Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
