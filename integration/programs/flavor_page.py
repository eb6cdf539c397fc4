"""The ChainOfThought example of the page of MLflow's DSPy flavor, block by block.

The code is that of docs/docs/genai/flavors/dspy/index.mdx in https://github.com/mlflow/mlflow
(Apache-2.0), quoted as test input; the lines marked `Stands in` differ.
"""
# Blocks import where they need it.
# ruff: noqa: E402

import os

import dspy

# Stands in for "openai/gpt-4o-mini" at OpenAI's own address. The quickstart says that the key may be
# given here too: it is, so that it can leak.
where = {"api_base": os.environ["LM_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
lm = dspy.LM(model="openai/in-context-classifier", max_tokens=250, **where)
dspy.settings.configure(lm=lm)


class CoT(dspy.Module):
    def __init__(self):
        super().__init__()
        self.prog = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.prog(question=question)


dspy_model = CoT()

import mlflow

with mlflow.start_run():
    model_info = mlflow.dspy.log_model(
        dspy_model,
        name="model",
        input_example="what is 2 + 2?",
    )

import mlflow

model = mlflow.pyfunc.load_model(model_info.model_uri)

response = model.predict("What kind of bear is best?")
print(response)

# DSPy remembers the answer above; what it remembers comes whole.
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)

stream_response = model.predict_stream("What kind of bear is best?")
for output in stream_response:
    print(output)

# Stands in for a URI that the page does not define.
model_uri = model_info.model_uri
model = mlflow.dspy.load_model(model_uri)

# The page ends here. What follows is for the test.
import json
from pathlib import Path

result = {
    "model_uri": model_info.model_uri,
    "loaded": type(model).__name__,
    "answer": model(question="What kind of bear is best?").toDict(),
}
Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
