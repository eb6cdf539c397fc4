"""A call whose price DSPy does not know costs the program no import of LiteLLM, and is not said to be free."""

import pytest

from integration.scripts import run_script
from tests.conftest import empty_store, store  # noqa: F401
from tests.fakes.scripted import HAS_ENGINES

SOURCE = """
import sys, mlflow
from tests.fakes.scripted import scripted_lm
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.dspy.autolog()
# A name of a model that LiteLLM has a price for.
scripted_lm("hello", model="openai/gpt-4o-mini")("hi")
[trace] = mlflow.search_traces(["1"], return_type="list")
[span] = trace.data.spans
report([span.attributes.get("mlflow.llm.cost"), "mlflow.trace.cost" in trace.info.trace_metadata, "litellm" in sys.modules])
"""


@pytest.mark.skipif(not HAS_ENGINES, reason="this dspy imports LiteLLM itself")
def test_a_call_without_a_price_imports_no_litellm_and_is_not_free(store, tmp_path):
    environment = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false", "MLFLOW_EXPERIMENT_ID": "1"}
    assert run_script(tmp_path, SOURCE, **environment) == [None, False, False]
