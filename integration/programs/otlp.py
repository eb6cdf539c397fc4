"""A program that embeds, searches and calls a tool that fails once, in a function that is traced by hand; its spans leave as they do."""

import json
import os
from pathlib import Path

import dspy
import mlflow
import numpy as np

mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
mlflow.set_experiment(os.environ["EXPERIMENT"])

CORPUS = ["bears eat honey", "bees make honey", "foxes eat mice"]


def vectors(texts):
    """Embed texts by the words that they share with the corpus."""
    words = sorted({word for text in CORPUS for word in text.split()})
    return np.array([[float(word in text) for word in words] for text in texts], dtype=np.float32)


def look_up(term: str) -> str:
    """Look up a term."""
    if term == "nothing":
        raise LookupError("no such term")
    return f"{term}: sweet"


class Answer(dspy.Module):
    """Search, then an agent."""

    def __init__(self):
        super().__init__()
        self.embed = dspy.Embedder(vectors)
        self.search = dspy.retrievers.Embeddings(CORPUS, vectors, k=2)
        self.agent = dspy.ReAct("question, context -> answer", tools=[look_up], max_iters=3)

    def forward(self, question):
        self.embed([question])
        return self.agent(question=question, context=self.search(question).passages)


@mlflow.trace
def serve(question):
    """What is around a program is the user's."""
    mlflow.get_current_active_span().set_attribute("tenant", 7)
    return program(question=question)


program = Answer()
mlflow.dspy.autolog()
dspy.configure(
    lm=dspy.LM(
        "openai/agent",
        api_base=os.environ["LM_URL"],
        temperature=0,
        max_tokens=500,
        extra_headers={"X-Auth": os.environ["CANARY"]},
    )
)
answer = serve("what do bears eat?").answer

mlflow.dspy.autolog(disable=True)
with mlflow.start_span("afterwards"):
    pass

experiment = mlflow.get_experiment_by_name(os.environ["EXPERIMENT"]).experiment_id
stored = mlflow.MlflowClient().search_traces([experiment])
names = [sorted(span.name for span in trace.data.spans) for trace in stored]
kept = [key for trace in stored for span in trace.data.spans for key in span.attributes if key.startswith("gen_ai.")]
Path(os.environ["RESULT_FILE"]).write_text(json.dumps({"answer": answer, "stored": names, "gen_ai in the store": kept}))
