"""What a span says: an event of DSPy -> name, type, inputs, outputs and attributes. Pure."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy
from mlflow.entities import SpanEvent, SpanType

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.seams.programs import is_signature
from mlflow_dspy_plugin.seams.spans import INPUTS, OUTPUTS
from mlflow_dspy_plugin.tracing import documents

# Attributes, of spans and of events, that hold what the user's program works with; the rest is its structure.
CONTENT = {
    INPUTS,
    OUTPUTS,
    "instructions",
    "description",
    "args",
    "exception.message",
    "exception.stacktrace",
    "error",
    "message",
}
# An attribute of newer releases of MLflow, used on all.
MODEL = "mlflow.llm.model"

# The first class that fits names the type of a module's span; not every release has all of them.
_MODULE_TYPES = (
    ("Retrieve", SpanType.RETRIEVER),
    ("ReAct", SpanType.AGENT),
    ("ReActV2", SpanType.AGENT),
    ("CodeAct", SpanType.AGENT),
    ("ProgramOfThought", SpanType.AGENT),
    ("RLM", SpanType.AGENT),
    ("Flex", SpanType.AGENT),
    ("Avatar", SpanType.AGENT),
    ("Predict", SpanType.LLM),
)
_TYPES_OF_CLASSES = [(getattr(dspy, name), t) for name, t in _MODULE_TYPES if hasattr(dspy, name)]
# What is the same for every call of a class, or of a signature.
_known_modules: weakref.WeakKeyDictionary[type, tuple[str, str]] = weakref.WeakKeyDictionary()
_known_signatures: weakref.WeakKeyDictionary[type, tuple[str | None, dict[str, str]]] = weakref.WeakKeyDictionary()


def outputs_of(outputs: Any) -> Mapping[str, Any]:
    """The outputs of a call in the form that a trace viewer reads best."""
    if outputs is None:
        return {}
    return {OUTPUTS: outputs}


@dataclass(frozen=True)
class Opening:
    """What a span says of itself, whatever it is called with.

    Attributes:
        name: Its name.
        type: MLflow's type of it.
        attributes: What it says from its beginning.
        content: Which of these attributes hold content, beside those of `CONTENT`.
        ending: What it says in the end: outputs of the call, or None -> attributes.
        events: What has happened on the way.
    """

    name: str
    type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    content: frozenset[str] = frozenset()
    ending: Callable[[Any], Mapping[str, Any]] = outputs_of
    events: Callable[[], Iterable[SpanEvent]] = tuple


def of_module(module: Any) -> Opening:
    """A call of a `dspy.Module`."""
    cls = type(module)
    known = _known_modules.get(cls)
    if known is None:
        span_type = next((t for base, t in _TYPES_OF_CLASSES if isinstance(module, base)), SpanType.CHAIN)
        known = _known_modules[cls] = (f"{cls.__name__}.forward", span_type)
    ending = documents.outputs_of if known[1] == SpanType.RETRIEVER else outputs_of
    return Opening(*known, _of_predictor(module), ending=ending)


def of_adapter(adapter: Any, step: str) -> Opening:
    """One step of an adapter: `format` or `parse`."""
    return Opening(f"{type(adapter).__name__}.{step}", SpanType.PARSER)


def of_tool(tool: Any) -> Opening:
    """A call of a `dspy.Tool`."""
    attributes = {"name": tool.name, "description": tool.desc, "args": tool.args}
    return Opening(f"Tool.{tool.name}", SpanType.TOOL, attributes)


def of_interpreter(interpreter: Any, step: str) -> Opening:
    """One step of a code interpreter: `execute`, `tool_call` or `startup`."""
    return Opening(f"{type(interpreter).__name__}.{step}", SpanType.TOOL)


def of_retriever(retriever: Any) -> Opening:
    """A call of a retriever that is no module."""
    attributes = {"k": k} if isinstance(k := getattr(retriever, "k", None), int) else {}
    return Opening(f"{type(retriever).__name__}.__call__", SpanType.RETRIEVER, attributes, ending=documents.outputs_of)


def of_embedder(embedder: Any) -> Opening:
    """A call of a `dspy.Embedder`."""
    model = embedder.model if isinstance(embedder.model, str) else getattr(embedder.model, "__qualname__", "")
    attributes = {"model": model, MODEL: model, "batch_size": embedder.batch_size, "cache": embedder.caching}
    return Opening(f"{type(embedder).__name__}.__call__", SpanType.EMBEDDING, attributes, ending=_shape_of)


def inputs_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, as the user wrote them; what DSPy handed over is kept."""
    if "kwargs" not in inputs:
        return dict(inputs)
    named = {key: value for key, value in inputs.items() if key not in ("args", "kwargs")}
    if inputs.get("args"):
        named["args"] = inputs["args"]
    named.update(inputs["kwargs"] or {})
    return named


def _shape_of(vectors: Any) -> Mapping[str, Any]:
    """How many vectors there are and of what length: their numbers say nothing to a reader, and fill the store."""
    shape = getattr(vectors, "shape", ())
    if not shape:
        return {}
    return {OUTPUTS: {"count": 1 if len(shape) == 1 else shape[0], "dimensions": shape[-1]}}


def _of_predictor(module: Any) -> dict[str, Any]:
    """The signature of a predictor, or of the one inside a module that is built around one."""
    predictor = module if isinstance(module, dspy.Predict) else _asked(module, "predict")
    signature = _asked(predictor, "signature") or _asked(module, "signature")
    if not is_signature(signature):
        return {}
    told = dict(_of_signature(signature))
    if isinstance(predictor, dspy.Predict):
        told["demos"] = len(predictor.demos)
    return told


def _asked(holder: Any, name: str) -> Any:
    """An attribute, which may be a property of the user's that raises; None then."""
    return attempt(lambda: getattr(holder, name, None), lambda error: None)


def _of_signature(signature: Any) -> dict[str, str]:
    told = _known_signatures.get(signature)
    # Instructions may be set on a signature that was shown before; DSPy keeps them as its docstring.
    if told is None or told[0] is not signature.__doc__:
        shown = {"signature": signature.signature, "instructions": signature.instructions}
        told = _known_signatures[signature] = (signature.__doc__, shown)
    return told[1]
