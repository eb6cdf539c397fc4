"""The in-context classifier as a `dspy.BaseLM`, for DSPy releases without engines."""

from typing import Any

import dspy
from dspy.clients.cache import request_cache
from litellm import ModelResponse

from mlflow_dspy_plugin.quickstart.classifier import InContextClassifier


class InContextLM(dspy.BaseLM):
    """Answer prompts in this process, without a network.

    Args:
        model: The name to answer under.
        seed: Where the sampling at temperatures above zero starts.
        kwargs: What `dspy.BaseLM` takes.
    """

    def __init__(self, model: str, seed: int = 0, **kwargs: Any):
        super().__init__(model, **kwargs)
        self.classifier = InContextClassifier(seed)

    def forward(
        self, prompt: str | None = None, messages: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> ModelResponse:
        """Return the answer to a prompt in OpenAI's shape."""
        options = {**self.kwargs, **kwargs}
        cache = options.pop("cache", self.cache)
        request = {
            "model": self.model,
            "seed": self.classifier.seed,
            "messages": messages or [{"role": "user", "content": prompt or ""}],
            "temperature": options.get("temperature") or 0.0,
            "n": options.get("n") or options.get("num_generations") or 1,
            "rollout_id": options.get("rollout_id"),
        }
        answer = request_cache(cache_arg_name="request")(self._answer) if cache else self._answer
        return answer(request=request)

    async def aforward(
        self, prompt: str | None = None, messages: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> ModelResponse:
        """Return the answer to a prompt in OpenAI's shape."""
        return self.forward(prompt, messages, **kwargs)

    def dump_state(self) -> dict[str, Any]:
        """Return the arguments that make this language model again."""
        state = {"model": self.model, "model_type": self.model_type, "cache": self.cache}
        return {**state, "seed": self.classifier.seed, **self.kwargs}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "InContextLM":
        """Return the language model of a dumped state."""
        return cls(**state)

    def _answer(self, request: dict[str, Any]) -> ModelResponse:
        messages = request["messages"]
        answers = [self.classifier.complete(messages, request["temperature"]) for _ in range(request["n"])]
        asked = sum(len(str(message.get("content", "")).split()) for message in messages)
        answered = sum(len(answer.split()) for answer in answers)
        return ModelResponse(
            model=self.model,
            choices=[
                {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
                for index, answer in enumerate(answers)
            ],
            usage={"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered},
        )
