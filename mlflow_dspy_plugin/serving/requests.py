"""A request in OpenAI's form, read and checked: what it says, and what it asks for beside. Pure."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.serving.conversations import Conversation
from mlflow_dspy_plugin.serving.inputs import python_values
from mlflow_dspy_plugin.serving.params import Params


@dataclass(frozen=True)
class ChatRequest:
    """A request.

    Attributes:
        conversation: What it says.
        asked: What it asks for beside.
        choices: How many answers it asks for.
        user: Who has sent it, if it says so.
    """

    conversation: Conversation
    asked: Params
    choices: int = 1
    user: str | None = None


@dataclass(frozen=True)
class ServedNames:
    """The names that a request may give for its model.

    Attributes:
        own: Tells those of what answers anyway: its language models, and the MLflow model.
        allowed: Of other language models, which then answer.
    """

    own: Callable[[], Collection[str]]
    allowed: Collection[str] = ()


def chat_request_of(data: Any, params: Mapping[str, Any] | None, served: ServedNames) -> ChatRequest:
    """Read a request; what is not known in it is ignored, as by other servers of that form.

    Args:
        data: Its body, as a dict or as the one-row table that MLflow makes of it.
        params: What was given beside; it holds over the body.
        served: What the request may call its model.

    Raises:
        InputError: If there are no messages in it, or a value is none that its key can have.
    """
    body = _body_of(data)
    given = {**_known(body), **_known(params or {})}
    for name, value in given.items():
        if not _KINDS[name].fits(value):
            raise InputError(f"{name!r} is {value!r:.100}. Give {_KINDS[name].what}, or leave it out.")
    lm = {_RENAMED.get(name, name): given[name] for name in _OF_LM if name in given}
    if (model := _model(given.get(names.PARAM_MODEL), served)) is not None:
        lm[names.PARAM_MODEL] = model
    return ChatRequest(
        Conversation(
            body["messages"], given.get("tools", ()), given.get("tool_choice"), given.get("custom_inputs", {})
        ),
        Params(
            lm,
            return_trace_id=given.get(names.PARAM_TRACE_ID, False),
            status_messages=given.get(names.PARAM_STATUS, False),
        ),
        given.get("n", 1),
        given.get("user"),
    )


def _body_of(data: Any) -> dict[str, Any]:
    body = data
    if isinstance(data, pd.DataFrame) and len(data) == 1:
        given = {name: data[name].iloc[0] for name in data.columns}
        # pandas puts NaN for what is not given.
        body = {name: value for name, value in given.items() if not (isinstance(value, float) and value != value)}
    body = python_values(dict(body)) if isinstance(body, Mapping) else {}
    if not isinstance(body.get("messages"), (list, tuple)) or not body["messages"]:
        what = f"rows: {len(data)}" if isinstance(data, pd.DataFrame) else f"{data!r:.100}"
        raise InputError(
            f"The input of a chat model is {{'messages': [{{'role': ..., 'content': ...}}]}}, but it "
            f"was given {type(data).__name__} ({what}). Give one request in that form."
        )
    return {**body, "messages": list(body["messages"])}


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given under a name that means something."""
    return {name: value for name, value in given.items() if name in _KINDS and value is not None}


def _model(asked: str | None, served: ServedNames) -> str | None:
    """The language model that is to answer; None for that of the program."""
    if asked is None or asked in served.allowed:
        return asked
    own = served.own()
    if asked not in own:
        raise InputError(
            f"'model' is {asked!r}, which this model does not allow. Leave it out, or give one of "
            f"{', '.join(dict.fromkeys([*own, *served.allowed]))}."
        )
    return None


# -- what each key can be ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """What a key can be, in words and as a check."""

    what: str
    fits: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


_NUMBER = _Kind("a number", lambda value: _is_integer(value) or (isinstance(value, float) and math.isfinite(value)))
_INTEGER = _Kind("a whole number", _is_integer)
_COUNT = _Kind("a whole number from 1 on", lambda value: _is_integer(value) and value > 0)
_TEXT = _Kind("a text", lambda value: isinstance(value, str))
_TEXTS = _Kind("a text or a list of texts", _is_texts)
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_LIST = _Kind("a list", lambda value: isinstance(value, list))
_OBJECT = _Kind("an object", lambda value: isinstance(value, dict))
_CHOICE = _Kind("a text or an object", lambda value: isinstance(value, (str, dict)))

# Arguments of a language model, which hold for the request.
_OF_LM: Mapping[str, _Kind] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "max_tokens": _COUNT,
    "max_completion_tokens": _COUNT,
    "stop": _TEXTS,
    "seed": _INTEGER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "reasoning_effort": _TEXT,
    "cache": _FLAG,
}
_KINDS: Mapping[str, _Kind] = {
    **_OF_LM,
    names.PARAM_MODEL: _TEXT,
    names.PARAM_TRACE_ID: _FLAG,
    names.PARAM_STATUS: _FLAG,
    "n": _COUNT,
    "user": _TEXT,
    "tools": _LIST,
    "tool_choice": _CHOICE,
    "custom_inputs": _OBJECT,
}
# The name that DSPy has for it, and gives its own name where a model wants the other.
_RENAMED = {"max_completion_tokens": "max_tokens"}
