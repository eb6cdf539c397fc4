"""The model signatures of programs that were logged with a task."""

from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Object, ParamSchema, ParamSpec, Property, Schema

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.seams.responses import SIGNATURE

# What a chat request asks for beside its messages, and has one type: MLflow's server hands it on as `params`.
_OPTIONS = {
    "temperature": DataType.double,
    "top_p": DataType.double,
    "max_tokens": DataType.long,
    "max_completion_tokens": DataType.long,
    "n": DataType.long,
    "seed": DataType.long,
    "presence_penalty": DataType.double,
    "frequency_penalty": DataType.double,
    "reasoning_effort": DataType.string,
    "user": DataType.string,
    "cache": DataType.boolean,
    names.PARAM_TRACE_ID: DataType.boolean,
    names.PARAM_STATUS: DataType.boolean,
    names.PARAM_MODEL: DataType.string,
}
# What has several types, or is no scalar, which `params` have to be.
_WIDE_OPTIONS = ("stop", "tools", "tool_choice", "custom_inputs")
# What messages have beside a role and a content, in the answers of some providers too; MLflow refuses all else.
_OF_MESSAGES = (
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "annotations",
    "audio",
    "images",
    "function_call",
    "reasoning",
    "reasoning_content",
    "thinking_blocks",
    "provider_specific_fields",
)


def _optional(fields: dict[str, object]) -> list[Property]:
    return [Property(name, type_, required=False) for name, type_ in fields.items()]


_MESSAGE = Object(
    [
        Property("role", DataType.string),
        # A text, or a list of parts.
        *_optional({"content": AnyType(), **dict.fromkeys(_OF_MESSAGES, AnyType())}),
    ]
)
_ANSWER = Object(
    [Property("role", DataType.string), *_optional({"content": DataType.string, "tool_calls": Array(AnyType())})]
)
_CHOICE = Object(
    [
        Property("index", DataType.long),
        Property("message", _ANSWER),
        Property("finish_reason", DataType.string),
    ]
)
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_CHAT = ModelSignature(
    inputs=Schema(
        [
            ColSpec(Array(_MESSAGE), "messages"),
            # Of any type: MLflow takes no 1 for a double here, and no null. What they are is looked at in `serving`.
            *(ColSpec(AnyType(), name, required=False) for name in (*_OPTIONS, *_WIDE_OPTIONS)),
        ]
    ),
    outputs=Schema(
        [
            *(ColSpec(DataType.string, name) for name in ("id", "object", "model")),
            ColSpec(DataType.long, "created"),
            ColSpec(Array(_CHOICE), "choices"),
            ColSpec(Object([Property(name, DataType.long) for name in _TOKENS]), "usage"),
        ]
    ),
    params=ParamSchema([ParamSpec(name, type_, None) for name, type_ in _OPTIONS.items()]),
)

# The signature of each task that a program can be logged with.
TASK_SIGNATURES = {names.TASK_CHAT: _CHAT, names.TASK_RESPONSES: SIGNATURE}
