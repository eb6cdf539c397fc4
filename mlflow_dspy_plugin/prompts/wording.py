"""The text of a prompt: instructions as they are, then sections of lines that people can read and edit.

::

    Answer the question.

    --- fields ---
    - question: str
    - answer: str
    - answer.description: one or two words

    --- demo ---
    - question: What kind of bear is best?
    - answer: black bear

    --- inputs ---
    - question: {{question}}

A line is `- name: text`, or `- name:` with the lines of a longer text below it, each after two blanks, or
`- name = JSON`. The hyphen may be left out: it is for MLflow's page, which shows prompts as Markdown.
A line of the instructions that looks like the title of a section has a backslash before it.
Only what stands under "inputs" is a variable of MLflow's: everywhere else a double brace is written `{\\{`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dspy_plugin.errors import PromptError

# MLflow's own syntax of variables.
_VARIABLE = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*)\s*\}\}")
# What MLflow would take for a variable or for a Jinja template, in a text that is neither.
_BRACE, _WRITTEN_BRACE = re.compile(r"\{(?=\\*[{%])"), re.compile(r"\{\\(?=\\*[{%])")
_SECTION = re.compile(r"--- (fields|inputs|decisions|instructions|demo(?: as dict)?(?: with inputs .*)?) ---[ \t]*")
_LOOKS_LIKE_SECTION = re.compile(r"\\*--- .* ---[ \t]*")
# What is none, and was most likely meant for one.
_MISTYPED_SECTION = re.compile(r"--- +(?:field|input|decision|instruction|demo)s?\b.* ---[ \t]*", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d]\w*")
_LINE = re.compile(
    r'(?:- )?(?P<name>[^\W\d]\w*(?:\.\w+)?|"(?:[^"\\]|\\.)*")(?P<typed> \(typed\))?'
    r"(?:: (?P<text>.+)|(?P<block>:)| = (?P<json>.+))"
)
_AS_DICT, _WITH_INPUTS = " as dict", " with inputs "
# What the registry, a database or a browser would change on the way.
_FRAGILE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff]")
_INDENT = "  "


@dataclass(frozen=True)
class Value:
    """What stands for the value of one field.

    Attributes:
        content: What JSON can hold.
        typed: Whether the type of the field makes the value of it; else it is the value.
    """

    content: Any
    typed: bool = False


@dataclass(frozen=True)
class Demo:
    """An example in a prompt.

    Attributes:
        values: By field.
        inputs: The fields that are inputs; None where it does not say.
        is_dict: Whether it is a dict, and no `dspy.Example`.
    """

    values: Mapping[str, Value]
    inputs: tuple[str, ...] | None = None
    is_dict: bool = False


@dataclass(frozen=True)
class Said:
    """What a prompt says.

    Attributes:
        instructions: The instructions.
        fields: Of each field the words that are not DSPy's usual ones (`prefix`, `description`), and its `type` for
            people; None in a prompt that was written by hand and speaks of instructions alone.
        demos: The examples.
        decisions: How the answers of a decision are read (dspy >= 3.4), if it was changed.
        variables: What MLflow fills in.
    """

    instructions: str
    fields: Mapping[str, Mapping[str, str]] | None = None
    demos: tuple[Demo, ...] = ()
    decisions: Any = None
    variables: frozenset[str] = field(default_factory=frozenset)


# -- writing ------------------------------------------------------------------------------------


def write(said: Said, inputs: Iterable[str]) -> str:
    """The text of a prompt.

    Args:
        said: What it says.
        inputs: The input fields, which become its variables.
    """
    written = [*_head(said.instructions), *map(_brace_safe, _sections(said))]
    return "\n".join([*written, "", "--- inputs ---", *(f"- {name}: {{{{{name}}}}}" for name in inputs)])


def parts_of(said: Said) -> dict[str, int]:
    """How many characters the parts of a prompt take, by what they are called."""
    sizes = {"the instructions": len(said.instructions)}
    return sizes | {f"demo {number}": len("\n".join(_demo(demo))) for number, demo in enumerate(said.demos, 1)}


def _head(instructions: str) -> Iterator[str]:
    """The lines above the sections."""
    for line in [] if _FRAGILE.search(instructions) else map(_brace_safe, instructions.split("\n")):
        yield "\\" + line if _LOOKS_LIKE_SECTION.fullmatch(line) else line


def _brace_safe(line: str) -> str:
    return _BRACE.sub(r"{\\", line)


def _sections(said: Said) -> Iterator[str]:
    if _FRAGILE.search(said.instructions):
        yield from ("", "--- instructions ---", _json(said.instructions))
    yield from ("", "--- fields ---")
    for name, words in (said.fields or {}).items():
        for word, told in words.items():
            yield from _line(name if word == "type" else f"{name}.{word}", Value(told))
    for demo in said.demos:
        yield from ("", *_demo(demo))
    if said.decisions:
        yield from ("", "--- decisions ---", _json(said.decisions))


def _demo(demo: Demo) -> Iterator[str]:
    told = _AS_DICT if demo.is_dict else ""
    told += "" if demo.inputs is None else f"{_WITH_INPUTS}{json.dumps(demo.inputs)}"
    yield f"--- demo{told} ---"
    for name, value in demo.values.items():
        yield from _line(name if _NAME.fullmatch(name) else json.dumps(name), value)


def _line(name: str, value: Value) -> Iterator[str]:
    text = value.content
    if value.typed or not isinstance(text, str) or not text or _FRAGILE.search(text):
        yield f"- {name}{' (typed)' if value.typed else ''} = {_json(text)}"
    elif "\n" in text:
        yield f"- {name}:"
        yield from (_INDENT + line for line in text.split("\n"))
    elif text != text.strip():
        yield f"- {name} = {_json(text)}"
    else:
        yield f"- {name}: {text}"


def _json(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return json.dumps(content) if _FRAGILE.search(text) else text


# -- reading ------------------------------------------------------------------------------------


def read(text: str, where: str) -> Said:
    """What a prompt says.

    Args:
        text: Its text, as `write` makes it or as somebody has edited it since; or instructions alone.
        where: What it is called, for errors.

    Raises:
        PromptError: If a line is none, with its number.
    """
    # Who edits it on Windows may leave line ends of another kind; of those that `write` wrote, none is in a line.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    starts = [number for number, line in enumerate(lines) if _SECTION.fullmatch(line)]
    above = lines[: starts[0]] if starts else lines
    _check_head(above, where)
    head = "\n".join(map(_head_line, above)).removesuffix("\n" if starts else "")
    variables = set(_VARIABLE.findall(head))
    told: dict[str, Any] = {"instructions": _plain(_VARIABLE.sub(r"`\1`", head)), "demos": []}
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        title, body = _plain(lines[start].rstrip()[4:-4]), lines[start + 1 : end]
        if title == "inputs":
            variables |= set(_VARIABLE.findall("\n".join(body)))
        else:
            _take(told, title, _Body(body, start + 2, where))
    return Said(**{**told, "demos": tuple(told["demos"])}, variables=frozenset(variables))


def _check_head(lines: list[str], where: str) -> None:
    for number, line in enumerate(lines, 1):
        if _MISTYPED_SECTION.fullmatch(line):
            raise PromptError(
                f"The prompt {where} cannot be read: line {number} is {line[:60]!r}, which is no section. Sections are "
                "'--- fields ---', '--- demo ---' (one for each), '--- inputs ---', '--- decisions ---' and "
                "'--- instructions ---'; if it is a line of the instructions, put a backslash before it."
            )


def _head_line(line: str) -> str:
    return line[1:] if line.startswith("\\") and _LOOKS_LIKE_SECTION.fullmatch(line) else line


def _plain(text: str) -> str:
    return _WRITTEN_BRACE.sub("{", text)


class _Body:
    """The lines of a section.

    Args:
        lines: The lines.
        number: That of the first, for people.
        where: What the prompt is called.
    """

    def __init__(self, lines: list[str], number: int, where: str) -> None:
        self._lines, self._first, self._where = [_plain(line) for line in lines], number, where

    def values(self) -> dict[str, Value]:
        """What the lines say, by name."""
        found: dict[str, Value] = {}
        at = 0
        while at < len(self._lines):
            if self._lines[at].strip():
                name, value, at = self._value(at)
                found[name] = value
            at += 1
        return found

    def json(self, at: int | None = None, text: str | None = None) -> Any:
        """The JSON of a line; of all, if none is given."""
        try:
            return json.loads("\n".join(self._lines) if text is None else text)
        except (ValueError, RecursionError) as error:
            raise self.refusal(at or 0, f"is no JSON ({error})") from None

    def refusal(self, at: int, reason: str) -> PromptError:
        return PromptError(
            f"The prompt {self._where} cannot be read: line {self._first + at} {reason}. Lines of a section are "
            "'- name: text', '- name:' with indented lines below it, or '- name = JSON'; correct it in a new version."
        )

    def _value(self, at: int) -> tuple[str, Value, int]:
        line = _LINE.fullmatch(self._lines[at])
        if line is None:
            raise self.refusal(at, f"is {self._lines[at][:60]!r}")
        name = json.loads(line["name"]) if line["name"].startswith('"') else line["name"]
        if line["json"] is not None:
            return name, Value(self.json(at, line["json"]), line["typed"] is not None), at
        return (name, Value(line["text"]), at) if line["text"] is not None else (name, *self._block(at + 1))

    def _block(self, start: int) -> tuple[Value, int]:
        end = start
        while end < len(self._lines) and (self._lines[end].startswith(_INDENT) or not self._lines[end]):
            end += 1
        while end > start and not self._lines[end - 1]:
            end -= 1
        return Value("\n".join(line.removeprefix(_INDENT) for line in self._lines[start:end])), end - 1


def _take(told: dict[str, Any], title: str, body: _Body) -> None:
    """Take what one section says."""
    if title == "fields":
        told["fields"] = _fields(body)
    elif title in ("decisions", "instructions"):
        told[title] = body.json()
    else:
        kind, _, inputs = title.partition(_WITH_INPUTS)
        named = tuple(body.json(-1, inputs)) if inputs else None
        told["demos"].append(Demo(body.values(), named, kind.endswith(_AS_DICT)))


def _fields(body: _Body) -> dict[str, dict[str, str]]:
    fields: dict[str, dict[str, str]] = {}
    for name, value in body.values().items():
        owner, _, word = name.partition(".")
        if word not in ("", "prefix", "description") or not isinstance(value.content, str):
            raise body.refusal(-1, f"or one below it says of {name!r} neither the type, nor a prefix or description")
        fields.setdefault(owner, {})[word or "type"] = value.content
    return fields
