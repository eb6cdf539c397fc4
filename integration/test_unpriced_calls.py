"""A call that nobody has a price for costs the program no import of LiteLLM, and is not said to be free."""

import pytest

from integration.scripts import run_script
from tests.fakes.scripted import HAS_ENGINES

SOURCE = """
import sys, mlflow
from tests.fakes.scripted import scripted_lm
mlflow.set_tracking_uri("sqlite:///mlflow.db")
experiment = mlflow.set_experiment("unpriced")
mlflow.dspy.autolog()
scripted_lm("hello", model="openai/a-model-of-our-own")("hi")
[trace] = mlflow.search_traces([experiment.experiment_id], return_type="list")
[span] = trace.data.spans
cost = span.attributes.get("mlflow.llm.cost") or None
report([cost, "mlflow.trace.cost" in trace.info.trace_metadata, "litellm" in sys.modules])
"""


@pytest.mark.skipif(not HAS_ENGINES, reason="this dspy imports LiteLLM itself")
def test_a_call_without_a_price_imports_no_litellm_and_is_not_free(tmp_path):
    assert run_script(tmp_path, SOURCE, MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false") == [None, False, False]
