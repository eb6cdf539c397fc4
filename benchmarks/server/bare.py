"""The bare web app, with a path that streams what `dspy.streamify` tells; run by uvicorn."""

from collections.abc import AsyncIterator

import dspy
from dspy.streaming import StreamListener, StreamResponse
from fastapi.responses import StreamingResponse

from benchmarks.serving.bare import app, program
from benchmarks.serving.streams import FIELDS


@app.post("/stream")
async def stream(fields: dict[str, str]) -> StreamingResponse:
    """Answer one question by server-sent events."""
    return StreamingResponse(_events(fields), media_type="text/event-stream")


async def _events(fields: dict[str, str]) -> AsyncIterator[str]:
    listeners = [StreamListener(field) for field in FIELDS]
    async for item in dspy.streamify(program, stream_listeners=listeners, is_async_program=True)(**fields):
        if isinstance(item, StreamResponse):
            yield f"data: {item.chunk}\n\n"
    yield "data: [DONE]\n\n"
