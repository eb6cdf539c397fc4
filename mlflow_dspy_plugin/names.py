"""Every string that outlives the process: flavor, files, keys, tags and environment variables.

A name in this file stands in saved models, runs or shells of users: add names, never change one.
"""

DISTRIBUTION = "mlflow-dspy-plugin"
PACKAGE = "mlflow_dspy_plugin"
FLAVOR = "dspy"
MLFLOW_FLAVOR_MODULE = "mlflow.dspy"

# The public names of the package, and the module of it in which each lives.
PUBLIC_NAMES = {
    "autolog": "switch",
    "compare": "tracking.compare",
    "context": "tracing.context",
    "examples_from_records": "genai.records",
    "examples_from_traces": "genai.examples",
    "examples_to_records": "genai.records",
    "get_default_conda_env": "needs.requirements",
    "get_default_pip_requirements": "needs.requirements",
    "inspect_model": "packaging.inspection",
    "judge": "genai.judges",
    "load_model": "packaging.load",
    "load_prompts": "prompts.load",
    "log_model": "packaging.save",
    "metric": "genai.metrics",
    "register_prompts": "prompts.register",
    "save_model": "packaging.save",
    "scorer": "genai.scorers",
    "to_predict_fn": "genai.predict_fn",
    "trace_id_of": "tracing.predictions",
    "track_optimization": "tracking.own_loops",
    "_load_pyfunc": "serving.pyfunc",
}

# Environment variables.
ENV_PLUGIN = "MLFLOW_DSPY_PLUGIN"
ENV_ALLOW_PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
ENV_TRUST = "MLFLOW_DSPY_TRUST"
ENV_SPOOL_DIR = "MLFLOW_DSPY_SPOOL_DIR"
ENV_SPOOL_MAX_MB = "MLFLOW_DSPY_SPOOL_MAX_MB"
ENV_EXIT_TIMEOUT = "MLFLOW_DSPY_EXIT_TIMEOUT"
ENV_PREDICT_THREADS = "MLFLOW_DSPY_PREDICT_THREADS"
ENV_SERVING_CONCURRENCY = "MLFLOW_DSPY_SERVING_CONCURRENCY"
ENV_SERVING_QUEUE = "MLFLOW_DSPY_SERVING_QUEUE"
ENV_API_KEY = "MLFLOW_DSPY_API_KEY"
ENV_API_KEYS = "MLFLOW_DSPY_API_KEYS"
ENV_API_KEYS_FILE = "MLFLOW_DSPY_API_KEYS_FILE"
# Before the name of a setting of the server's, in capitals.
ENV_SERVER = "MLFLOW_DSPY_SERVER_"
ENV_PROMPTS = "MLFLOW_DSPY_PROMPTS"
ENV_PROMPTS_SECONDS = "MLFLOW_DSPY_PROMPTS_SECONDS"

# Run tags.
TAG_DSPY_VERSION = "dspy.version"
TAG_PLUGIN_VERSION = "mlflow_dspy_plugin.version"
TAG_RUN_KEY = "mlflow_dspy_plugin.run_key"
TAG_OPTIMIZER = "dspy.optimizer"
TAG_EVALUATIONS = "dspy.evaluations"
TAG_PROGRAM = "dspy.program"
TAG_LEFT_OUT = "dspy.left_out"
TAG_ERROR = "dspy.error"

# Files of runs.
OPTIMIZATION_FILE = "optimization.json"
CANDIDATES_FILE = "candidates.json"
REPORT_FILE = "report.html"
ROWS_FILE = "rows.json"
RESULT_TABLE_FILE = "result_table.json"
PROGRAM_BEFORE_FILE = "program_before.json"
MODEL_FILE = "model.json"
BEST_MODEL_FILE = "best_model.json"
BEST_MODEL = "best_program"

# Metrics of runs.
METRIC_EVAL = "eval"
METRIC_SCORE = "score"
METRIC_BEST_SCORE = "best_score"
METRIC_BASELINE = "baseline"
METRIC_GAIN = "gain"
METRIC_LLM_CALLS = "llm_calls"
METRIC_TOKENS = "tokens"
METRIC_COST = "cost"
METRIC_ROWS = "rows"
METRIC_FAILURES = "failures"

# Metadata of traces, and attributes of spans.
TRACE_PROGRAM = "mlflow.dspy.program"
TRACE_DSPY_VERSION = "mlflow.dspy.version"
TRACE_MODEL_ID = "mlflow.modelId"
TRACE_REQUEST_ID = "mlflow.dspy.request_id"
TRACE_SERVED_MODEL = "mlflow.dspy.served_model"
TRACE_SERVED_VERSION = "mlflow.dspy.served_version"
TRACE_TRACEPARENT = "mlflow.dspy.traceparent"
SPAN_GRAPH = "dspy.program.graph"

# Tags of versions of prompts; Unity Catalog takes no dots in them.
PROMPT_PROGRAM = "dspy_program"
PROMPT_PREDICTOR = "dspy_predictor"
PROMPT_SIGNATURE = "dspy_signature"
PROMPT_RUN = "dspy_run_id"
# The same for all that one registration has registered.
PROMPT_REGISTRATION = "dspy_registration"

# Keys of the flavor's section in an MLmodel file.
KEY_FORMAT = "format"
KEY_MODEL_PATH = "model_path"
KEY_SETTINGS_PATH = "settings_path"
KEY_SERIALIZATION = "serialization_format"
KEY_STATE_PATH = "state_path"
KEY_MODEL_CONFIG = "model_config"
KEY_MODULES = "modules"
KEY_DIGESTS = "digests"
KEY_TASK = "inference_task"
KEY_INPUT_FIELDS = "input_fields"
KEY_OUTPUT_FIELDS = "output_fields"
KEY_DSPY_VERSION = "dspy_version"
KEY_LEFT_OUT = "left_out"
KEY_CODE = "code"
KEY_MODULES = "modules"
KEY_VERSIONS = "versions"
KEY_LANGUAGE_MODELS = "language_models"
KEY_ALLOWED_MODELS = "allowed_models"
KEY_FOLLOW_PROMPTS = "follow_prompts"

# Params of a request, and what they add to an answer.
PARAM_ON_ERROR = "on_error"
PARAM_TRACE_ID = "return_trace_id"
PARAM_MODEL = "model"
PARAM_STATUS = "status_messages"
ANSWER_ERROR = "error"
ANSWER_TRACE_ID = "trace_id"
ANSWER_OUTPUT = "output"
STREAM_PREDICTION = "prediction"
STREAM_STATUS = "status"
STREAM_STATUS_EVENT = "response.status"

# Keys of the metadata in an MLmodel file.
METADATA_FIELDS = "dspy_fields"

# Who has said what a dataset expects, in the assessments of the traces of an evaluation.
SOURCE_DATASET = "dataset"

# How a program stands in a model folder.
FORMAT_JSON = "json"
FORMAT_CLOUDPICKLE = "cloudpickle"
FORMAT_DSPY = "dspy"
FORMAT_CODE = "code"

# Files below a model folder.
DOCUMENT_FILE = "data/program.json"
CODE_FILE = "data/program.py"
STATE_FILE = "data/state.json"
PROGRAM_FILE = "data/program.pkl"
DSPY_SAVED_FOLDER = "data/model"
SETTINGS_FILE = "data/settings.pkl"
CODE_FOLDER = "code"

# Files below a spool folder.
SPOOL_SEGMENT = ".jsonl"
SPOOL_OWNER = ".owner"

# Tasks of a model.
TASK_CHAT = "llm/v1/chat"
TASK_RESPONSES = "agent/v1/responses"
TASKS = (TASK_CHAT, TASK_RESPONSES)
