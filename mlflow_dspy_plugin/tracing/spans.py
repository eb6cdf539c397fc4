"""What a span says: an event of DSPy -> name, type, inputs, outputs and attributes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy
from mlflow.entities import SpanType

from mlflow_dspy_plugin.redaction import redact_named
from mlflow_dspy_plugin.seams.programs import is_signature

# The first class that fits names the type of a module's span.
_MODULE_TYPES = (
    (dspy.Retrieve, SpanType.RETRIEVER),
    (dspy.ReAct, SpanType.AGENT),
    (dspy.Predict, SpanType.LLM),
)


@dataclass(frozen=True)
class Opening:
    """What a span says of itself, whatever it is called with."""

    name: str
    type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def of_module(module: Any) -> Opening:
    """A call of a `dspy.Module`."""
    span_type = next((t for cls, t in _MODULE_TYPES if isinstance(module, cls)), SpanType.CHAIN)
    return Opening(f"{type(module).__name__}.forward", span_type, _signatures(module))


def of_adapter(adapter: Any, step: str) -> Opening:
    """One step of an adapter: `format` or `parse`."""
    return Opening(f"{type(adapter).__name__}.{step}", SpanType.PARSER)


def of_tool(tool: Any) -> Opening:
    """A call of a `dspy.Tool`."""
    attributes = {"name": tool.name, "description": tool.desc, "args": tool.args}
    return Opening(f"Tool.{tool.name}", SpanType.TOOL, attributes)


def inputs_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, as the user wrote them; what DSPy handed over is kept."""
    named = {key: value for key, value in inputs.items() if key not in ("args", "kwargs")}
    if inputs.get("args"):
        named["args"] = inputs["args"]
    named.update(inputs.get("kwargs") or {})
    # Serializing a signature class is slow and shows pydantic's inside; its repr is what DSPy shows.
    readable = {key: repr(value) if is_signature(value) else value for key, value in named.items()}
    return redact_named(readable)


def outputs_of(outputs: Any) -> Any:
    """The outputs of a call in the form that a trace viewer reads best."""
    return outputs.toDict() if isinstance(outputs, dspy.Prediction) else outputs


def _signatures(module: Any) -> dict[str, str]:
    """The signature of a predictor, as text."""
    predictor = module if isinstance(module, dspy.Predict) else getattr(module, "predict", None)
    signature = getattr(predictor, "signature", None) or getattr(module, "signature", None)
    return {"signature": signature.signature} if is_signature(signature) else {}
