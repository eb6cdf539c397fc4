"""The events of a streamed response as OpenAI's clients keep account of them: what words belong to is told first."""

import itertools
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

_CREATED, _ADDED, _DONE = "response.created", "response.output_item.added", "response.output_item.done"
_PART = {"type": "output_text", "annotations": [], "logprobs": []}


class ResponseEvents:
    """The events of one response.

    Args:
        model: The name that the response gives for its model until it is whole.
    """

    def __init__(self, model: str) -> None:
        self._numbers = itertools.count()
        self._response = {"id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": time.time()}
        self._response |= {
            "model": model,
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        self._added: set[int] = set()
        self._text = ""

    def first(self) -> dict[str, Any]:
        """The event that tells of the response."""
        return self._numbered({"type": _CREATED, "response": {**self._response, "status": "in_progress"}})

    def of(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """An event of MLflow's agent, and those that belong around it."""
        if "delta" in event:
            yield from self._opened(event)
            self._text += event["delta"]
        elif event["type"] == _DONE:
            yield from self._closed(event)
        elif "response" in event:
            event = {**event, "response": {**event["response"], "id": self._response["id"]}}
        yield self._numbered(event)

    def _opened(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The item and the part that words are about to be of."""
        index = delta["output_index"]
        if index in self._added:
            return
        self._added.add(index)
        message = {"id": delta["item_id"], "type": "message", "role": "assistant", "status": "in_progress"}
        yield self._numbered({"type": _ADDED, "output_index": index, "item": {**message, "content": []}})
        yield self._numbered({"type": "response.content_part.added", **_place(delta), "part": {**_PART, "text": ""}})

    def _closed(self, done: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The end of what was opened; an item without words has its beginning here."""
        index, item = done["output_index"], done["item"]
        if index not in self._added:
            self._added.add(index)
            yield self._numbered({"type": _ADDED, "output_index": index, "item": item})
        elif self._text:
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            text, self._text = self._text, ""
            yield self._numbered({"type": "response.output_text.done", **place, "text": text, "logprobs": []})
            yield self._numbered({"type": "response.content_part.done", **place, "part": {**_PART, "text": text}})

    def _numbered(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return {**event, "sequence_number": next(self._numbers)}


def _place(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("item_id", "output_index", "content_index")}
