"""Traces as text, so that a test compares a whole tree at once."""

import re
from collections import defaultdict

import mlflow
from mlflow.entities import Span, SpanStatusCode, Trace

# What a predictor does with a ChatAdapter, whatever the program.
PREDICTOR = """\
  ChatAdapter.format PARSER OK
  LM.__call__ CHAT_MODEL OK
  ChatAdapter.parse PARSER OK
"""
# Spans that hold a whole prompt; `test_trees.py` looks into them once.
_LONG = ("Adapter.format", "Adapter.parse", "LM.__call__")


def outline(trace: Trace, content: bool = True) -> str:
    """One line a span, indented under its parent: name, type, status, inputs -> outputs, events."""
    children = defaultdict(list)
    for span in trace.data.spans:
        children[span.parent_id].append((span, _line(span, content)))
    return "".join(_lines(children, None, ""))


def predictor(line: str, indent: int = 0) -> str:
    """A predictor's line of an outline, and what is below it."""
    return _indented(f"{line}\n{PREDICTOR}", indent)


def under(line: str, *parts: str) -> str:
    """A line of an outline with the given parts below it."""
    return f"{line}\n" + "".join(_indented(part, 1) for part in parts)


def _indented(text: str, by: int) -> str:
    return "".join(f"{'  ' * by}{line}\n" for line in text.splitlines())


def _lines(children: dict[str | None, list[tuple[Span, str]]], parent: str | None, indent: str) -> list[str]:
    parts = []
    for span, line in sorted(children[parent], key=lambda child: child[0].start_time_ns):
        below = "".join(_lines(children, span.span_id, indent + "  "))
        parts.append(f"{indent}{line}\n{below}")
    # Siblings that ran at once start in any order; those of other names do not.
    names = [part.split()[0] for part in parts]
    return sorted(parts) if len(set(names)) == 1 else parts


def _line(span: Span, content: bool) -> str:
    name = name_of(span)
    status = "OK" if span.status.status_code == SpanStatusCode.OK else "ERROR"
    raised = [event for event in span.events if event.name == "exception"]
    events = "".join(f" !{event.attributes['exception.type']}" for event in raised)
    shown = content and not name.endswith(_LONG)
    values = f" {span.inputs} -> {span.outputs}" if shown else ""
    return f"{name} {span.span_type} {status}{values}{events}"


def name_of(span: Span) -> str:
    """The name without the number that MLflow 3.4 adds, and of the LM whatever release scripts it."""
    return re.sub(r"_\d+$", "", span.name).replace("ScriptedLM", "LM")


def spans_named(trace: Trace, name: str) -> list[Span]:
    return [span for span in trace.data.spans if name_of(span) == name]


def text_answered(span: Span, choice: int = 0) -> str:
    """The text that an LM has answered."""
    return span.outputs["choices"][choice]["message"]["content"]


def text_of(trace: Trace) -> str:
    """All that is stored of a trace."""
    return trace.to_json()


def open_traces() -> int:
    """How many traces of this process have not ended."""
    return len(mlflow.tracing.trace_manager.InMemoryTraceManager.get_instance()._traces)
