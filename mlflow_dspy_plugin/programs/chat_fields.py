"""Which part of a chat each field of a program is: what takes the messages, what gives the answer."""

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.errors import ProgramError
from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.programs.schema import unwrap_optional
from mlflow_dspy_plugin.seams.programs import is_of_dspy

MESSAGES = "messages"
# What users of DSPy call the text that is answered, and the text that answers it.
_QUESTIONS = ("question", "query", "request", "user_message", "message", "user_input", "input", "prompt", "text")
_ANSWERS = ("answer", "response", "output", "content", "text")
_THOUGHTS = ("reasoning", "rationale", "trajectory")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class ChatFields:
    """The fields of a program by their parts in a chat; None of a part that it does not have.

    Attributes:
        takes_list: Whether its first argument is the list of messages.
        messages: The input that is the list of messages.
        text: The input that is the text of the user.
        history: The input that is the `dspy.History` of earlier turns.
        turn: The names of the two sides of a turn in that history.
        tools: The input that is a list of `dspy.Tool`.
        image: The input that is a `dspy.Image`, or a list of them.
        takes_images: Whether it is a list.
        answer: The output that is the text of the answer, where the outputs are known.
    """

    takes_list: bool = False
    messages: str | None = None
    text: str | None = None
    history: str | None = None
    turn: tuple[str, str] = ("question", "answer")
    tools: str | None = None
    image: str | None = None
    takes_images: bool = False
    answer: str | None = None


def chat_fields_of(program: dspy.Module, fields: Fields) -> ChatFields:
    """Look which part each field of a program has.

    The `forward` of a user's class takes the list of messages, as with MLflow's own flavor, where its parameter is
    called `messages` or says that it is a list; else a text.

    Raises:
        ProgramError: If it takes neither messages nor a text.
    """
    answer = answer_among(fields.outputs or {})
    if _takes_list(program, fields):
        return ChatFields(takes_list=True, answer=answer)
    inputs = {name: unwrap_optional(type_)[0] for name, type_ in (fields.inputs or {}).items()}
    messages = MESSAGES if MESSAGES in inputs and (_own_forward(program) or inputs[MESSAGES] is not str) else None
    text = _text_among({name: type_ for name, type_ in inputs.items() if name != messages}, fields.required)
    if messages is None and text is None:
        raise ProgramError(
            f"A chat needs a program that takes messages or a text, but this one takes {list(inputs)}. Give it an "
            f"input of type str, or a `forward` that takes `{MESSAGES}`."
        )
    history, image = _first(inputs, _is_history), _first(inputs, _is_image)
    return ChatFields(
        messages=messages,
        text=None if messages else text,
        history=history,
        turn=_turn_of(program) or (text or "question", answer or "answer"),
        tools=_first(inputs, _is_tools),
        image=image,
        takes_images=image is not None and typing.get_origin(inputs[image]) is list,
        answer=answer,
    )


def answer_among(outputs: Mapping[str, Any]) -> str | None:
    """The name of the output that is the answer.

    It is the only one beside thoughts; else one that is called so; else the last text; else the last of all.

    Args:
        outputs: Name -> type.
    """
    told = [name for name, type_ in outputs.items() if type_ is not dspy.ToolCalls]
    told = [name for name in told if name not in _THOUGHTS] or told
    named = next((name for name in _ANSWERS if name in told), None)
    texts = [name for name in told if outputs[name] is str]
    return named if named is not None and len(told) > 1 else next(reversed(texts or told), None)


def answering_predictor(program: dspy.Module, answer: str | None) -> tuple[str | None, str | None]:
    """The name of the predictor that gives the answer, and of its field: of several, the last; None of what has none.

    Args:
        program: The program.
        answer: The field, where the outputs of the program are known; else it is the last one that is called as users
            call answers, or of the last predictor with a text.
    """
    texts = []
    for name, predictor in program.named_predictors():
        outputs = {field: described.annotation for field, described in predictor.signature.output_fields.items()}
        field = answer if answer in outputs else answer_among(outputs)
        if outputs.get(field) is str and answer in (None, field):
            texts.append((name, field))
    named = [each for each in texts if each[1] in _ANSWERS]
    return next(reversed(named or texts), (None, None))


def _text_among(inputs: Mapping[str, Any], required: frozenset[str]) -> str | None:
    """The input that is the question: the one that has to be given, or is called so; DSPy's examples put it last."""
    texts = [name for name, type_ in inputs.items() if type_ in (str, Any)]
    needed = [name for name in texts if name in required] or texts
    return next((name for name in _QUESTIONS if name in needed), next(reversed(needed), None))


def _takes_list(program: dspy.Module, fields: Fields) -> bool:
    forward = _own_forward(program)
    if forward is None:
        return False
    first, *others = [*inspect.signature(forward).parameters.values()][1:] or [None]
    if first is None or first.kind not in _POSITIONAL:
        return first is not None and first.kind is first.VAR_POSITIONAL
    if any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in others):
        return False
    types_ = [_hint(forward, p) for p in (first, *others)]
    if first.name == MESSAGES:
        return not any(map(_is_dspys, types_[1:]))
    return list in (types_[0], typing.get_origin(types_[0])) and not any(map(_is_dspys, types_))


def _own_forward(program: dspy.Module) -> Any:
    """The `forward` (or `aforward`) of a class of the user's."""
    forward = getattr(type(program), "forward", None) or getattr(type(program), "aforward", None)
    return None if forward is None or is_of_dspy(forward) else forward


def _hint(forward: Any, parameter: inspect.Parameter) -> Any:
    hints = attempt(lambda: typing.get_type_hints(forward), lambda error: {})
    return unwrap_optional(hints.get(parameter.name, parameter.annotation))[0]


def _turn_of(program: dspy.Module) -> tuple[str, str] | None:
    """The names of the question and the answer for the predictor that takes a history."""
    for predictor in program.predictors():
        inputs = {name: field.annotation for name, field in predictor.signature.input_fields.items()}
        outputs = {name: field.annotation for name, field in predictor.signature.output_fields.items()}
        question, answer = _text_among(inputs, frozenset(inputs)), answer_among(outputs)
        if _first(inputs, _is_history) and question and answer:
            return question, answer
    return None


def _first(inputs: Mapping[str, Any], is_wanted: Any) -> str | None:
    return next((name for name, type_ in inputs.items() if is_wanted(unwrap_optional(type_)[0])), None)


def _is_dspys(type_: Any) -> bool:
    return _is_history(type_) or _is_tools(type_) or _is_image(type_)


def _is_history(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, dspy.History)


def _is_tools(type_: Any) -> bool:
    return _item_of(type_) is dspy.Tool


def _is_image(type_: Any) -> bool:
    return dspy.Image in (type_, _item_of(type_))


def _item_of(type_: Any) -> Any:
    """The type of a list's items."""
    return next(iter(typing.get_args(type_)), None) if typing.get_origin(type_) is list else None
