"""Tools: as OpenAI's requests offer them -> DSPy's; calls of them as DSPy gives them -> OpenAI's. Pure."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.serving.outputs import plain

_FORM = "{'type': 'function', 'function': {'name': ..., 'description': ..., 'parameters': {...}}}"


def tools_of(offered: Any, choice: Any = None) -> list[dspy.Tool]:
    """The tools that a request offers; the program can look at them and not call them.

    Args:
        offered: As OpenAI's chat completions or its Responses have them.
        choice: Which of them may be called: `"none"`, or the name of one in OpenAI's form. Other choices are the
            language model's, and leave all.

    Raises:
        InputError: If one is no function with a name, or the choice is none of them.
    """
    if not isinstance(offered, list):
        raise InputError(f"'tools' is {type(offered).__name__}. Give a list of {_FORM}.")
    tools = [_tool(place, given) for place, given in enumerate(offered)]
    if choice == "none":
        return []
    if not isinstance(choice, Mapping):
        return tools
    name = _function(choice).get("name")
    chosen = [tool for tool in tools if tool.name == name]
    if not chosen:
        raise InputError(f"'tool_choice' is {name!r}, which is none of the tools {[tool.name for tool in tools]}.")
    return chosen


def tool_calls_of(called: dspy.ToolCalls) -> list[dict[str, Any]]:
    """Calls of tools in OpenAI's form."""
    return [
        {
            "id": getattr(call, "id", None) or f"call_{uuid.uuid4().hex}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(plain(call.args), default=str)},
        }
        for call in called.tool_calls
    ]


def _tool(place: int, given: Any) -> dspy.Tool:
    function = _function(given)
    name, parameters = function.get("name"), function.get("parameters") or {}
    properties = parameters.get("properties") or {} if isinstance(parameters, Mapping) else None
    if not isinstance(name, str) or not name or not isinstance(properties, Mapping):
        raise InputError(f"Tool {place} of 'tools' is {given!r:.200}. Give a function in the form {_FORM}.")
    return dspy.Tool(
        _left_to_the_client,
        name=name,
        desc=function.get("description") or "",
        args={key: dict(value) if isinstance(value, Mapping) else {} for key, value in properties.items()},
        arg_types=dict.fromkeys(properties, Any),
    )


def _function(given: Any) -> Mapping[str, Any]:
    """What is said of the function: Responses has it beside its type, chat completions below."""
    if not isinstance(given, Mapping) or given.get("type") != "function":
        return {}
    function = given.get("function", given)
    return function if isinstance(function, Mapping) else {}


def _left_to_the_client(**arguments: Any) -> Any:
    """Stands for a tool that runs where the request comes from."""
    raise NotImplementedError("This tool belongs to whoever sent the request. Return its call; do not run it.")
