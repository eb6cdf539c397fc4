"""The example of MLflow's page on tracing DSPy.

The code is that of docs/docs/genai/tracing/integrations/listing/dspy.mdx in
https://github.com/mlflow/mlflow (Apache-2.0), quoted as test input; lines marked `Stands in` differ.
"""

import os

import dspy
import mlflow

mlflow.dspy.autolog()

# Stands in for "http://localhost:5000".
mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
mlflow.set_experiment("DSPy")

# Stands in for "openai/gpt-4o-mini".
lm = dspy.LM("openai/in-context-classifier", api_base=os.environ["LM_URL"])
dspy.configure(lm=lm)


class SummarizeSignature(dspy.Signature):
    """Given a passage, generate a summary."""

    passage: str = dspy.InputField(desc="a passage to summarize")
    summary: str = dspy.OutputField(desc="a one-line summary of the passage")


class Summarize(dspy.Module):
    def __init__(self):
        self.summarize = dspy.ChainOfThought(SummarizeSignature)

    def forward(self, passage: str):
        return self.summarize(passage=passage)


summarizer = Summarize()
summarizer(
    passage=(
        "MLflow Tracing is a feature that enhances LLM observability in your Generative AI (GenAI) applications "
        "by capturing detailed information about the execution of your application's services. Tracing provides "
        "a way to record the inputs, outputs, and metadata associated with each intermediate step of a request, "
        "enabling you to easily pinpoint the source of bugs and unexpected behaviors."
    )
)
