"""OpenAI's messages -> the arguments of one call of a program. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.programs.chat_fields import ChatFields
from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.serving.field_values import check_sendable
from mlflow_dspy_plugin.serving.tools import tools_of

_SYSTEM, _USER, _ASSISTANT, _TOOL = "system", "user", "assistant", "tool"
_ROLES = {
    "system": _SYSTEM,
    "developer": _SYSTEM,
    "user": _USER,
    "assistant": _ASSISTANT,
    "tool": _TOOL,
    "function": _TOOL,
}
_LABELS = {_USER: "User", _ASSISTANT: "Assistant", _TOOL: "Tool"}
# The parts of a message's content: of chat completions, and of Responses.
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_IMAGES = ("image_url", "input_image")
# Never a path: some releases of DSPy would read that file here, and send it to the language model.
_ADDRESSES = ("https://", "http://", "data:image/")


@dataclass(frozen=True)
class Conversation:
    """What a request says.

    Attributes:
        messages: In OpenAI's form, oldest first.
        tools: What it offers to call, in OpenAI's form.
        tool_choice: Which of them.
        others: Values of other inputs of the program.
    """

    messages: list[dict[str, Any]]
    tools: Sequence[Any] = ()
    tool_choice: Any = None
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Turn:
    """A message, read."""

    role: str
    text: str
    images: tuple[str, ...] = ()

    def labelled(self) -> str:
        return f"{_LABELS[self.role]}: {self.text}"


def arguments_of(conversation: Conversation, parts: ChatFields, fields: Fields) -> tuple[tuple[Any, ...], dict]:
    """The positional and keyword arguments of the call.

    A program that takes messages gets them as they are. Of another one, the text input is the last message of the
    user, after what system messages say; earlier turns are in its `dspy.History`, or stand before it in the text.

    Args:
        conversation: The request.
        parts: The program's fields by their parts in a chat.
        fields: All of them.

    Raises:
        InputError: If a message cannot be understood, or has what the program does not take.
    """
    turns = [_turn(place, message) for place, message in enumerate(conversation.messages)]
    given = {**_told(turns, parts), **_tools(conversation, parts)}
    if parts.messages is not None:
        given[parts.messages] = conversation.messages
    if not parts.takes_list:
        given.update(_images(turns, parts))
    _check(given, conversation.others, parts, fields)
    return ((conversation.messages,) if parts.takes_list else ()), {**conversation.others, **given}


# -- what a message says ----------------------------------------------------------------------


def _turn(place: int, message: Any) -> _Turn:
    if not isinstance(message, Mapping):
        raise InputError(f"Message {place} is {type(message).__name__}. Give {{'role': ..., 'content': ...}}.")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        raise InputError(f"Message {place} has the role {role!r}. Give one of {', '.join(_ROLES)}.")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if parts is not None and not isinstance(parts, list):
        raise InputError(f"Message {place} has a content of {type(content).__name__}. Give a text, or a list of parts.")
    texts, images = [], []
    for part in parts or ():
        (images if _is_image(part) else texts).append(_said(place, part))
    texts += _called(place, message.get("tool_calls") or [])
    text = "\n".join(filter(None, texts))
    check_sendable(text, f"Message {place}")
    if not text and not images and _ROLES[role] != _TOOL:
        raise InputError(f"Message {place} (role {role!r}) has no text. Give it a 'content', or leave it out.")
    name = (message.get("name") or message.get("tool_call_id")) if _ROLES[role] == _TOOL else None
    return _Turn(_ROLES[role], f"{name} returned {text}" if name else text, tuple(images))


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _IMAGES


def _said(place: int, part: Any) -> str:
    """The text of a part, or the address of its image."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(kind, str) and kind in _TEXTS and isinstance(text := part.get(_TEXTS[kind]), str):
        return text
    if kind not in _IMAGES:
        raise InputError(
            f"Message {place} has a part {part!r:.100}, which is none that this model takes. Give "
            "{'type': 'text', 'text': ...} or {'type': 'image_url', 'image_url': {'url': ...}}."
        )
    address = part.get("image_url")
    address = address.get("url") if isinstance(address, Mapping) else address
    if not isinstance(address, str) or not address.startswith(_ADDRESSES):
        raise InputError(
            f"Message {place} has an image at {address!r:.100}. Give its 'url', which begins with one of "
            f"{', '.join(_ADDRESSES)}."
        )
    return address


def _called(place: int, calls: Any) -> list[str]:
    """Calls of tools in words; the answers to them follow."""
    functions = [call.get("function") for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    named = [each for each in functions if isinstance(each, Mapping) and isinstance(each.get("name"), str)]
    if not isinstance(calls, list) or len(named) != len(calls):
        raise InputError(
            f"Message {place} has the tool calls {calls!r:.100}. Give a list of {{'id': ..., 'type': 'function', "
            "'function': {'name': ..., 'arguments': ...}}."
        )
    return [f"calls {function['name']}({function.get('arguments') or ''})" for function in named]


# -- what the program is told -----------------------------------------------------------------


def _told(turns: Sequence[_Turn], parts: ChatFields) -> dict[str, Any]:
    """The text input, and the history."""
    if parts.text is None:
        # The messages are all of it.
        return {} if parts.history is None else {parts.history: dspy.History(messages=[])}
    rules = [turn.text for turn in turns if turn.role == _SYSTEM]
    spoken = _joined([turn for turn in turns if turn.role != _SYSTEM])
    last = max((place for place, turn in enumerate(spoken) if turn.role == _USER), default=None)
    if last is None:
        raise InputError("There is no message of the role 'user'. Give the one that is to be answered.")
    if parts.history is None:
        text = spoken[0].text if len(spoken) == 1 else "\n\n".join(turn.labelled() for turn in spoken)
        return {parts.text: "\n\n".join([*rules, text])}
    after = [turn.labelled() for turn in spoken[last + 1 :]]
    return {
        parts.text: "\n\n".join(filter(None, [*rules, spoken[last].text, *after])),
        parts.history: dspy.History(messages=_pairs(spoken[:last], parts.turn)),
    }


def _joined(turns: Sequence[_Turn]) -> list[_Turn]:
    """The turns, with what one side says in several messages as one."""
    joined: list[_Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            turn = _Turn(turn.role, "\n\n".join(filter(None, [joined.pop().text, turn.text])))
        joined.append(turn)
    return joined


def _pairs(turns: Sequence[_Turn], names: tuple[str, str]) -> list[dict[str, str]]:
    """What the user said and what came back, as the messages of a history."""
    question, answer = names
    pairs: list[dict[str, str]] = []
    for turn in turns:
        if turn.role == _USER or not pairs:
            pairs.append({question: "", answer: ""})
        if turn.role == _USER:
            pairs[-1][question] = turn.text
        else:
            told = turn.text if turn.role == _ASSISTANT else turn.labelled()
            pairs[-1][answer] = "\n\n".join(filter(None, [pairs[-1][answer], told]))
    return pairs


def _tools(conversation: Conversation, parts: ChatFields) -> dict[str, Any]:
    tools = tools_of(list(conversation.tools), conversation.tool_choice)
    if parts.tools is not None:
        return {parts.tools: tools}
    if tools:
        raise InputError("The request offers tools, but the program has no input of type list[dspy.Tool]. Send none.")
    return {}


def _images(turns: Sequence[_Turn], parts: ChatFields) -> dict[str, Any]:
    found = [(place, address) for place, turn in enumerate(turns) for address in turn.images]
    if not found or parts.messages is not None:
        return {}
    if parts.image is None:
        raise InputError(f"Message {found[0][0]} has an image, but the program has no input of type dspy.Image.")
    images = [dspy.Image(url=address) for _, address in found]
    if parts.takes_images:
        return {parts.image: images}
    if len(images) > 1:
        raise InputError(
            f"Message {found[1][0]} has a second image, but the program's input {parts.image!r} takes one. Send one."
        )
    return {parts.image: images[0]}


def _check(given: Mapping[str, Any], others: Mapping[str, Any], parts: ChatFields, fields: Fields) -> None:
    """Refuse values for inputs that the program does not have, and inputs without a value."""
    if fields.inputs is None:
        return
    taken = [*fields.inputs][:1] if parts.takes_list else given
    free = [name for name in fields.inputs if name not in taken]
    if unknown := [name for name in others if name not in free]:
        raise InputError(f"'custom_inputs' has {unknown}, but the program's other inputs are {free}. Name those.")
    if missing := sorted(fields.required - {*taken, *others}):
        raise InputError(
            f"The program needs {missing}, which a message does not give. Send them in 'custom_inputs', a dict."
        )
