"""A judge of MLflow's is aligned with what people said of traces, with autologging or without."""

import json
import os
from pathlib import Path

import dspy
import mlflow
from mlflow.genai.judges import make_judge, optimizers

if os.environ["AUTOLOG"] == "on":
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)
elif os.environ["AUTOLOG"] == "off":
    mlflow.dspy.autolog(disable=True)
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
mlflow.set_experiment(os.environ["EXPERIMENT"])
judge = make_judge(
    name="polite", instructions="Is {{ outputs }} a polite answer to {{ inputs }}?", model="openai:/judge"
)
trace_ids = []
for number in range(12):
    with mlflow.start_span("answer") as span:
        span.set_inputs({"question": f"Question {number}?"})
        span.set_outputs({"answer": "Please." if number % 3 else "No."})
    trace_ids.append(span.trace_id)
# MLflow's own exporter writes them later.
mlflow.flush_trace_async_logging()
person = mlflow.entities.AssessmentSource(source_type="HUMAN", source_id="ada")
for number, trace_id in enumerate(trace_ids):
    mlflow.log_feedback(trace_id=trace_id, name="polite", value="yes" if number % 4 else "no", source=person)
# In the order of the questions, which a search does not keep: the optimizers draw from the list.
traces = [mlflow.get_trace(trace_id) for trace_id in trace_ids]
options = json.loads(os.environ["OPTIONS"])
aligned = judge.align(traces, getattr(optimizers, os.environ["OPTIMIZER"])(model="openai:/reflecting", **options))
verdict = aligned(inputs={"question": "One?"}, outputs={"answer": "Please."})
result = {"instructions": aligned.instructions, "value": str(verdict.value), "rationale": verdict.rationale}
Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
