"""A DSPy prompt, read back into what it asks: output fields, instruction, demos and question."""

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dspy_plugin.quickstart.fields import Field, declared_names, read_fields

INPUTS = "Your input fields are:"
OUTPUTS = "Your output fields are:"
STRUCTURE = "All interactions will be structured in the following way"
OBJECTIVE = "your objective is:"
HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]", re.MULTILINE)
REQUEST_FOR_JSON = "Respond with a JSON object in the following order of fields:"
REQUEST = re.compile(
    rf"^(?:Respond with the corresponding output fields, starting with|{REQUEST_FOR_JSON})", re.MULTILINE
)
COMPLETED = "completed"


@dataclass(frozen=True)
class Demo:
    """An answered question in a prompt."""

    inputs: dict[str, str]
    outputs: dict[str, str]

    @property
    def text(self) -> str:
        """All that was asked, as one text."""
        return "\n".join(self.inputs.values())


@dataclass(frozen=True)
class Prompt:
    """What a prompt asks."""

    outputs: tuple[Field, ...]
    instruction: str
    demos: tuple[Demo, ...]
    question: dict[str, str]
    as_json: bool
    last_message: str

    @property
    def text(self) -> str:
        """All that is asked, as one text."""
        return "\n".join(self.question.values())


def read_prompt(messages: Iterable[Mapping[str, Any]]) -> Prompt:
    """Return what chat messages ask, as DSPy's ChatAdapter and JSONAdapter write them.

    Args:
        messages: OpenAI chat messages. A prompt without declared output fields is read as a bare question.
    """
    turns = [(str(turn.get("role")), _plain(turn.get("content"))) for turn in messages if isinstance(turn, Mapping)]
    system = next((text for _, text in turns if OUTPUTS in text), "")
    declarations, _, rest = system.partition(STRUCTURE)
    structure, _, objective = rest.partition(OBJECTIVE)
    inputs, _, outputs = declarations.partition(OUTPUTS)
    fields = read_fields(outputs, structure)
    names = declared_names(inputs.partition(INPUTS)[2])
    last = next((text for role, text in reversed(turns) if role == "user"), "")
    return Prompt(
        outputs=fields,
        instruction=textwrap.dedent(objective.strip("\n")).strip(),
        demos=_read_demos(turns, names, [field.name for field in fields]),
        question=_sections(_without_request(last), names),
        as_json=REQUEST_FOR_JSON in last,
        last_message=last,
    )


def _plain(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _without_request(text: str) -> str:
    requests = list(REQUEST.finditer(text))
    return text[: requests[-1].start()] if requests else text


def _read_demos(turns: list[tuple[str, str]], inputs: list[str], outputs: list[str]) -> tuple[Demo, ...]:
    pairs = zip(turns, turns[1:], strict=False)
    return tuple(
        Demo(_sections(asked, inputs), _answers(answered, outputs))
        for (role, asked), (next_role, answered) in pairs
        if (role, next_role) == ("user", "assistant")
    )


def _answers(text: str, names: list[str]) -> dict[str, str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        return {name: str(values[name]) for name in names if name in values}
    return _sections(text, [*names, COMPLETED])


def _sections(text: str, names: list[str]) -> dict[str, str]:
    headers = [header for header in HEADER.finditer(text) if header[1] in names]
    ends = [header.start() for header in headers[1:]] + [len(text)]
    return {header[1]: text[header.end() : end].strip() for header, end in zip(headers, ends, strict=False)}
