"""HTTP/1.1 over asyncio streams: requests with a Content-Length in, whole or chunked responses out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

REASONS = {status.value: status.phrase for status in HTTPStatus}


class Malformed(Exception):
    """What a client sent is not a request this server can read; the connection cannot be used further."""


class Request(NamedTuple):
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read the next request of a connection, or return None when the client has hung up between two.

    Raises:
        Malformed: When the head cannot be read or announces a body of unknown length.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise Malformed("The request's head is too long.") from error
    method, path, headers = parse_head(head.decode("latin-1"))
    return Request(method, path, headers, await reader.readexactly(body_length(headers)))


def parse_head(head: str) -> tuple[str, str, dict[str, str]]:
    """Split a head into method, path without query, and headers."""
    first, *lines = head.rstrip().split("\r\n")
    try:
        method, target, _ = first.split(" ")
    except ValueError as error:
        raise Malformed(f"Not a request line: {first!r}.") from error
    pairs = (line.partition(":") for line in lines)
    return method, target.partition("?")[0], {name.strip().lower(): value.strip() for name, _, value in pairs}


def body_length(headers: dict[str, str]) -> int:
    """Return how many bytes of body follow a head."""
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        raise Malformed("A body needs a Content-Length that is a number.")
    return int(length)


def head_bytes(status: int, headers: Iterable[tuple[str, object]]) -> bytes:
    """Write the head of a response."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n{lines}\r\n".encode("latin-1")


def json_response(status: int, body: bytes, headers: Iterable[tuple[str, object]] = ()) -> bytes:
    """Write a whole JSON response."""
    return head_bytes(status, [("Content-Type", "application/json"), ("Content-Length", len(body)), *headers]) + body


def event_stream_head() -> bytes:
    """Write the head of a response that is a stream of server-sent events of unknown length."""
    return head_bytes(200, [("Content-Type", "text/event-stream; charset=utf-8"), ("Transfer-Encoding", "chunked")])


def event_bytes(data: bytes) -> bytes:
    """Write one server-sent event as one chunk."""
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


END_OF_CHUNKS = b"0\r\n\r\n"
