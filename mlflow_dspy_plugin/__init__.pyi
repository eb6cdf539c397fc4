"""The public names as type checkers see them: at run time each is resolved on first use."""

from mlflow_dspy_plugin.genai.examples import examples_from_traces as examples_from_traces
from mlflow_dspy_plugin.genai.judges import judge as judge
from mlflow_dspy_plugin.genai.metrics import metric as metric
from mlflow_dspy_plugin.genai.predict_fn import to_predict_fn as to_predict_fn
from mlflow_dspy_plugin.genai.records import examples_from_records as examples_from_records
from mlflow_dspy_plugin.genai.records import examples_to_records as examples_to_records
from mlflow_dspy_plugin.genai.scorers import scorer as scorer
from mlflow_dspy_plugin.needs.requirements import get_default_conda_env as get_default_conda_env
from mlflow_dspy_plugin.needs.requirements import get_default_pip_requirements as get_default_pip_requirements
from mlflow_dspy_plugin.packaging.inspection import inspect_model as inspect_model
from mlflow_dspy_plugin.packaging.load import load_model as load_model
from mlflow_dspy_plugin.packaging.save import log_model as log_model
from mlflow_dspy_plugin.packaging.save import save_model as save_model
from mlflow_dspy_plugin.prompts.load import load_prompts as load_prompts
from mlflow_dspy_plugin.prompts.register import register_prompts as register_prompts
from mlflow_dspy_plugin.serving.pyfunc import _load_pyfunc as _load_pyfunc
from mlflow_dspy_plugin.switch import autolog as autolog
from mlflow_dspy_plugin.tracing.context import context as context
from mlflow_dspy_plugin.tracing.predictions import trace_id_of as trace_id_of
from mlflow_dspy_plugin.tracking.compare import compare as compare
from mlflow_dspy_plugin.tracking.own_loops import track_optimization as track_optimization

__version__: str
