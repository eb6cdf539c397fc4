"""The page of the API: its document, and what the descriptions of endpoints are made of. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

_ERROR = "#/components/schemas/"
# Every status that can come where a model is asked, and why.
_FAILURES: Mapping[int, str] = {
    400: "The request cannot be read, or does not fit the model.",
    401: "There is no key, or a wrong one.",
    404: "There is no such model.",
    408: "The request was not received in time.",
    413: "The body is too long.",
    415: "The body is of a type that is not read.",
    429: "The language model's provider takes no more requests now.",
    500: "The program failed, or the server did.",
    501: "The program does not do that.",
    502: "The language model refused the server's key.",
    503: "Too many requests wait, or the language model is down. Come back later.",
    504: "There was no answer in time.",
}
_REFUSED = (401,)
MODEL_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_RETRY = {"Retry-After": {"description": "When to come back, in seconds.", "schema": {"type": "integer"}}}
_REQUEST_ID = {"X-Request-Id": {"description": "The request's, as in the logs.", "schema": {"type": "string"}}}
_ERRORS: Mapping[str, Any] = {
    "OpenAIError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "MlflowError": {
        "type": "object",
        "required": ["error_code", "message"],
        "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    },
}
_MESSAGE: Mapping[str, Any] = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
        "tool_call_id": {"type": ["string", "null"]},
        "name": {"type": ["string", "null"]},
    },
}


def document(title: str, version: str, operations: Iterable[tuple[str, str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The document.

    Args:
        title: Of the API.
        version: Of the server.
        operations: Methods, paths and what is described of them.
    """
    paths: dict[str, dict[str, Any]] = {}
    for method, path, described in operations:
        paths.setdefault(path, {})[method.lower()] = {"operationId": f"{method} {path}", **described}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {**_ERRORS, "Message": _MESSAGE},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # A server without keys asks for none.
        "security": [{"key": []}, {}],
    }


def json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A body of JSON."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def answered(schema: Mapping[str, Any], error: str, streams: bool = False) -> dict[str, Any]:
    """What can come where a model is asked.

    Args:
        schema: Of the answer.
        error: The schema of what else comes, by its name.
        streams: Whether the answer may be a stream.
    """
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string", "description": "Ends in `data: [DONE]`."}}
    return {"200": _answer("The answer.", content), **_failures(error, _FAILURES)}


def told(schema: Mapping[str, Any], error: str, may_lack: bool = False) -> dict[str, Any]:
    """What can come where the server tells of itself; `may_lack` where it may not know what is asked for."""
    statuses = (*_REFUSED, 404) if may_lack else _REFUSED
    return {"200": _answer("The answer.", {"application/json": {"schema": schema}}), **_failures(error, statuses)}


def open_to_all(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What can come where no key is asked for."""
    return {"200": _answer("The answer.", {"application/json": {"schema": schema}})}


def text(error: str, *statuses: int) -> dict[str, Any]:
    """What can come where the answer is a text, beside the statuses of every path."""
    answer = _answer("The answer.", {"text/plain": {"schema": {"type": "string"}}})
    return {"200": answer, **_failures(error, (*_REFUSED, *statuses))}


def _failures(error: str, statuses: Iterable[int]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"{_ERROR}{error}"}}}
    return {
        str(status): _answer(_FAILURES[status], content, _RETRY if status in (429, 503) else {}) for status in statuses
    }


def _answer(description: str, content: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "headers": {**_REQUEST_ID, **(headers or {})}, "content": content}
