"""A loaded program as an MLflow `ResponsesAgent`: OpenAI's Responses in and out."""

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import mlflow
from dspy.streaming import StatusMessage
from mlflow.entities import SpanType
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

from mlflow_dspy_plugin import names
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
    names.PARAM_MODEL: names.PARAM_MODEL,
    names.PARAM_STATUS: names.PARAM_STATUS,
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
        return response_of(self._chat.answer(self._chat.read(body_of(request))), request)

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        """Answer a request: the text as it comes, then item by item, and then as a whole."""
        _tell_trace(request)
        _, told = self._chat.stream(self._chat.read(body_of(request)))
        events = _Events(request)
        for each in told:
            yield from events.of(each)

    @mlflow.trace(name="predict", span_type=SpanType.AGENT)
    async def apredict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        """As `predict`, without holding up the event loop that runs; see `PyfuncModel.apredict`."""
        _tell_trace(request)
        return response_of(await self._chat.aanswer(self._chat.read(body_of(request))), request)

    async def apredict_stream(self, request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
        """As `predict_stream`, without holding up the event loop that runs."""
        left = asyncio.Event()

        @mlflow.trace(
            name="predict_stream",
            span_type=SpanType.AGENT,
            output_reducer=ResponsesAgent.responses_agent_output_reducer,
        )
        async def predict_stream(request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
            with _ending_traces():
                async for event in self._events(request):
                    yield event
                    if left.is_set():
                        raise asyncio.CancelledError

        told = predict_stream(request)
        try:
            async for event in told:
                yield event
        except GeneratorExit:
            left.set()
            with contextlib.suppress(_CutError):
                await told.__anext__()
            raise
        except _CutError as error:
            raise error.__cause__ from None

    async def _events(self, request: ResponsesAgentRequest) -> AsyncIterator[ResponsesAgentStreamEvent]:
        _tell_trace(request)
        _, told = self._chat.astream(self._chat.read(body_of(request)))
        events = _Events(request)
        async with contextlib.aclosing(told):
            async for each in told:
                for event in events.of(each):
                    yield event


class _CutError(Exception):
    """Nobody waits for the answer anymore."""


@contextlib.contextmanager
def _ending_traces() -> Iterator[None]:
    """A block that ends by an `Exception` where it is cancelled: MLflow ends a stream's span by no other."""
    try:
        yield
    except asyncio.CancelledError as error:
        raise _CutError("The answer was cut: nobody waited for it anymore.") from error


def body_of(request: ResponsesAgentRequest) -> dict[str, Any]:
    """A request as the body of a chat completion's.

    Raises:
        InputError: If an item is of a kind that a program cannot be told.
    """
    given = request.model_dump(exclude_none=True)
    options = {name: given[key] for key, name in _OPTIONS.items() if key in given}
    if effort := given.get("reasoning", {}).get("effort"):
        options["reasoning_effort"] = effort
    items = [message for place, item in enumerate(given["input"]) for message in _messages_of(place, item)]
    if not items:
        raise InputError("The 'input' of the request says nothing. Give {'input': [{'role': ..., 'content': ...}]}.")
    rules = [{"role": "system", "content": text}] if (text := given.get("instructions")) else []
    return {"messages": [*rules, *items], **options}


class _Events:
    """The events of one streamed response.

    Args:
        request: What it responds to.
    """

    def __init__(self, request: ResponsesAgentRequest) -> None:
        self._request, self._message, self._numbers = request, _id("msg"), itertools.count()

    def of(self, told: Any) -> Iterator[ResponsesAgentStreamEvent]:
        """The events of one thing that `Chat.stream` tells."""
        for event in self._bodies(told):
            yield ResponsesAgentStreamEvent(sequence_number=next(self._numbers), **event)

    def _bodies(self, told: Any) -> Iterator[dict[str, Any]]:
        if isinstance(told, str):
            place = {"item_id": self._message, "output_index": 0, "content_index": 0}
            yield {"type": "response.output_text.delta", **place, "delta": told, "logprobs": []}
        elif isinstance(told, StatusMessage):
            yield {"type": names.STREAM_STATUS_EVENT, names.STREAM_STATUS: told.message}
        else:
            yield from _whole(response_of(told, self._request, self._message))


def _whole(response: ResponsesAgentResponse) -> Iterator[dict[str, Any]]:
    """A response, item by item and as a whole."""
    told = response.model_dump(exclude_none=True)
    for index, item in enumerate(told["output"]):
        yield {"type": "response.output_item.done", "item": item, "output_index": index}
    yield {"type": f"response.{response.status}", "response": told}


def response_of(
    answered: Answered, request: ResponsesAgentRequest, message: str | None = None
) -> ResponsesAgentResponse:
    """The response to a request.

    Args:
        answered: What came of it.
        request: The request, some options of which the response repeats.
        message: The id of the first message, where some of its text was sent before.
    """
    cut = answered.spent.was_cut and not answered.replies[-1].tool_calls
    status, last = ("incomplete" if cut else "completed"), len(answered.replies) - 1
    items = [
        item
        for place, reply in enumerate(answered.replies)
        for item in _items_of(reply, None if place else message, status if place == last else "completed")
    ]
    others = {name: value for reply in answered.replies for name, value in reply.others.items()}
    return ResponsesAgentResponse(
        id=f"resp_{uuid.uuid4().hex}",
        created_at=time.time(),
        model=answered.model,
        status=status,
        incomplete_details={"reason": "max_output_tokens"} if cut else None,
        output=items,
        usage=_usage_of(answered.spent) if answered.spent.is_known else None,
        custom_outputs=json.loads(json.dumps(others, default=str)) or None,
        **_repeated(request),
    )


def _repeated(request: ResponsesAgentRequest) -> dict[str, Any]:
    """What OpenAI's responses say of the tools that were offered."""
    given = request.model_dump(exclude_none=True)
    tools = [{"parameters": {}, "strict": False, **tool} for tool in given.get("tools", ())]
    return {"tools": tools, "tool_choice": given.get("tool_choice", "auto"), "parallel_tool_calls": True}


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


def _items_of(reply: Reply, known: str | None, status: str) -> list[dict[str, Any]]:
    said = {"type": "output_text", "text": reply.text, "annotations": []}
    message = {
        "type": "message",
        "id": known or _id("msg"),
        "role": "assistant",
        "status": status,
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
