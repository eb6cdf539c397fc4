"""The in-context classifier as an engine of `dspy.LM`, for DSPy releases that have engines."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from dspy.lm15 import Message, Request, Response, Usage, response_to_events

from mlflow_dspy_plugin.quickstart.classifier import InContextClassifier


class InContextEngine:
    """Answer requests in this process, without a network.

    Args:
        seed: Where the sampling at temperatures above zero starts.
    """

    def __init__(self, seed: int = 0):
        self.classifier = InContextClassifier(seed)

    def complete(self, request: Request) -> Response:
        """Return the answer to a request."""
        messages = _chat(request)
        answer = self.classifier.complete(messages, request.config.temperature)
        asked = sum(len(message["content"].split()) for message in messages)
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(answer),
            finish_reason="stop",
            usage=Usage(input_tokens=asked, output_tokens=len(answer.split())),
        )

    def stream(self, request: Request) -> Iterator[Any]:
        """Yield the events of an answer, which is made at once."""
        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def dump_state(self) -> dict[str, int]:
        """Return what `load_state` needs to make this engine again."""
        return {"seed": self.classifier.seed}

    @classmethod
    def load_state(cls, state: dict[str, int]) -> "InContextEngine":
        """Return the engine of a dumped state."""
        return cls(**state)


class AsyncInContextEngine:
    """The same answers, awaited.

    Args:
        seed: Where the sampling at temperatures above zero starts.
    """

    def __init__(self, seed: int = 0):
        self.engine = InContextEngine(seed)

    async def complete(self, request: Request) -> Response:
        """Return the answer to a request."""
        return self.engine.complete(request)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Yield the events of an answer, which is made at once."""
        for event in self.engine.stream(request):
            yield event

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""

    def dump_state(self) -> dict[str, int]:
        """Return what `load_state` needs to make this engine again."""
        return self.engine.dump_state()

    @classmethod
    def load_state(cls, state: dict[str, int]) -> "AsyncInContextEngine":
        """Return the engine of a dumped state."""
        return cls(**state)


def _chat(request: Request) -> list[dict[str, str]]:
    system = request.system or ""
    text = system if isinstance(system, str) else "".join(part.text for part in system)
    turns = [{"role": message.role, "content": message.text or ""} for message in request.messages]
    return [{"role": "system", "content": text}, *turns] if text else turns
