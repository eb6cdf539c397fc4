"""The example of MLflow's page on autologging of DSPy optimizers, and the one of its FAQ.

The code is that of docs/docs/genai/flavors/dspy/optimizer.mdx in https://github.com/mlflow/mlflow
(Apache-2.0), quoted as test input. Lines marked `Stands in` differ: the page optimizes on GSM8K,
which is not on this machine, by MIPROv2, which needs optuna.
"""

import os

import dspy
import mlflow
import pandas as pd

mlflow.dspy.autolog(log_compiles=True, log_evals=True, log_traces_from_compile=True)

# Stands in for "http://localhost:5000".
mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
# Stands in for "DSPy", which the page on tracing uses too.
mlflow.set_experiment("DSPy Optimizer")

# Stands in for "openai/gpt-3.5-turbo".
lm = dspy.LM(model="openai/in-context-classifier", max_tokens=250, api_base=os.environ["LM_URL"])
dspy.configure(lm=lm)


# Stands in for GSM8K and its metric.
def read_examples(name, n_per_label):
    rows = pd.read_csv(f"{os.environ['REUTERS_R8']}/{name}.tsv", sep="\t").groupby("label").head(n_per_label)
    return [dspy.Example(question=row.text, answer=row.label).with_inputs("question") for row in rows.itertuples()]


def metric(example, prediction, trace=None):
    return example.answer == prediction.answer


trainset = read_examples("train", 1)
devset = read_examples("test", 1)

program = dspy.ChainOfThought("question -> answer")

# Stands in for MIPROv2(metric=gsm8k_metric, auto="light").
teleprompter = dspy.teleprompt.BootstrapFewShotWithRandomSearch(
    metric=metric,
    max_bootstrapped_demos=3,
    max_labeled_demos=4,
    num_candidate_programs=2,
    num_threads=2,
)
optimized_program = teleprompter.compile(
    program,
    trainset=trainset,
)

with mlflow.start_run(run_name="My Optimization Run") as run:
    optimized_program = teleprompter.compile(
        program,
        trainset=trainset,
    )
    evaluation = dspy.Evaluate(devset=devset, metric=metric)
    evaluation(optimized_program)
