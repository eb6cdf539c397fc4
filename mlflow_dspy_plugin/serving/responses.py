"""A loaded program as an MLflow `ResponsesAgent`: OpenAI's Responses in and out."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import mlflow
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.seams.trace_context import SESSION, USER
from mlflow_dspy_plugin.serving.chat import Answered, Chat
from mlflow_dspy_plugin.serving.completions import Reply
from mlflow_dspy_plugin.serving.spending import Spent

# The options of a request, and what chat completions call them.
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_tokens",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "user": "user",
    "custom_inputs": "custom_inputs",
}


class Agent(ResponsesAgent):
    """Calls a DSPy program for MLflow's agents.

    The items of `input` become its messages, and `custom_inputs` its other inputs. The answer is an output message,
    calls of tools are output items, and `custom_outputs` holds the other fields of the prediction. MLflow traces each
    call, and the program's own spans stand below.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self.program = chat.program

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        """Answer a request."""
        _tell_trace(request)
        return response_of(self._chat.answer(self._chat.read(body_of(request))))

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        """Answer a request: the text as it comes, then item by item, and then as a whole."""
        _tell_trace(request)
        message = _id("msg")
        _, told = self._chat.stream(self._chat.read(body_of(request)))
        for each in told:
            if isinstance(each, str):
                yield ResponsesAgentStreamEvent(**self.create_text_delta(each, message))
            else:
                yield from _whole(response_of(each, message))


def body_of(request: ResponsesAgentRequest) -> dict[str, Any]:
    """A request as the body of a chat completion's.

    Raises:
        InputError: If an item is of a kind that a program cannot be told.
    """
    given = request.model_dump(exclude_none=True)
    options = {name: given[key] for key, name in _OPTIONS.items() if key in given}
    items = [message for place, item in enumerate(given["input"]) for message in _messages_of(place, item)]
    return {"messages": items, **options}


def _whole(response: ResponsesAgentResponse) -> Iterator[ResponsesAgentStreamEvent]:
    """A response, item by item and as a whole."""
    told = response.model_dump(exclude_none=True)
    for index, item in enumerate(told["output"]):
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item, output_index=index)
    yield ResponsesAgentStreamEvent(type="response.completed", response=told)


def response_of(answered: Answered, message: str | None = None) -> ResponsesAgentResponse:
    """The response to a request.

    Args:
        answered: What came of it.
        message: The id of the first message, where some of its text was sent before.
    """
    ids = [message, *(None for _ in answered.replies[1:])]
    items = [item for reply, known in zip(answered.replies, ids, strict=True) for item in _items_of(reply, known)]
    cut = answered.spent.was_cut and not answered.replies[-1].tool_calls
    others = {name: value for reply in answered.replies for name, value in reply.others.items()}
    return ResponsesAgentResponse(
        id=f"resp_{uuid.uuid4().hex}",
        created_at=time.time(),
        model=answered.model,
        status="incomplete" if cut else "completed",
        incomplete_details={"reason": "max_output_tokens"} if cut else None,
        output=items,
        usage=_usage_of(answered.spent),
        custom_outputs=json.loads(json.dumps(others, default=str)) or None,
    )


def _messages_of(place: int, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An item of the input as messages of a chat completion."""
    kind = item.get("type", "message")
    if kind == "message":
        return [{"role": item.get("role", "assistant"), "content": item.get("content")}]
    if kind == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if kind == "function_call_output":
        return [{"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}]
    if kind == "reasoning":
        # What the model has thought is not said to it again.
        return []
    raise InputError(
        f"Item {place} of 'input' is of the type {kind!r}, which a program cannot be told. Give messages, function "
        "calls and their outputs."
    )


def _items_of(reply: Reply, known: str | None) -> list[dict[str, Any]]:
    said = {"type": "output_text", "text": reply.text, "annotations": []}
    message = {
        "type": "message",
        "id": known or _id("msg"),
        "role": "assistant",
        "status": "completed",
        "content": [said],
    }
    calls = [
        {"type": "function_call", "id": _id("fc"), "call_id": call["id"], "status": "completed", **call["function"]}
        for call in reply.tool_calls
    ]
    return [*([] if reply.text is None else [message]), *calls]


def _usage_of(spent: Spent) -> dict[str, Any]:
    return {
        "input_tokens": spent.sent,
        "input_tokens_details": {"cached_tokens": spent.sent_cached},
        "output_tokens": spent.got,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning},
        "total_tokens": spent.total,
    }


def _tell_trace(request: ResponsesAgentRequest) -> None:
    """Note in MLflow's trace of this call, which has begun, whose it is."""
    context = request.context
    told = {SESSION: context and context.conversation_id, USER: (context and context.user_id) or request.user}
    told = {key: value for key, value in told.items() if value}
    if told and mlflow.get_current_active_span() is not None:
        mlflow.update_current_trace(metadata=told)


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
