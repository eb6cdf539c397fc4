"""What the span of an LM call says."""

import functools

from mlflow.entities import SpanType
from mlflow.tracing.constant import SpanAttributeKey

from mlflow_dspy_plugin.redaction import redact_named
from mlflow_dspy_plugin.seams import spans as span_seam
from mlflow_dspy_plugin.tracing import spans, usage

_MODEL_ATTRIBUTE = "mlflow.llm.model"
_PROVIDER_ATTRIBUTE = "mlflow.llm.provider"


def opening(lm, inputs):
    model = str(getattr(lm, "model", ""))
    attributes = {
        **redact_named(getattr(lm, "kwargs", None) or {}),
        "model": model,
        "model_type": getattr(lm, "model_type", None),
        "cache": getattr(lm, "cache", None),
        SpanAttributeKey.MESSAGE_FORMAT: "dspy",
        _MODEL_ATTRIBUTE: model,
    }
    if "/" in model:
        attributes[_PROVIDER_ATTRIBUTE] = model.split("/", 1)[0]
    span_type = SpanType.CHAT_MODEL if attributes["model_type"] == "chat" else SpanType.LLM
    return spans.Opening(f"{type(lm).__name__}.__call__", span_type, attributes, functools.partial(response, lm))


def request(lm, inputs):
    return spans.inputs_of(inputs)


def response(lm, outputs, result):
    attributes = usage.attributes_of(result) if result is not None else {}
    if outputs is not None:
        attributes[span_seam.OUTPUTS] = outputs
    return attributes
