"""MLflow's agents that speak OpenAI's Responses: the signature that they have, and what MLflow calls them through."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pandas as pd
import pydantic
from mlflow.models import ModelSignature
from mlflow.models.utils import _convert_llm_ndarray_to_list
from mlflow.pyfunc import ResponsesAgent
from mlflow.pyfunc.loaders.responses_agent import _ResponsesAgentPyfuncWrapper
from mlflow.types.responses import (
    RESPONSES_AGENT_INPUT_SCHEMA,
    RESPONSES_AGENT_OUTPUT_SCHEMA,
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)
from mlflow.types.schema import AnyType, Array, ColSpec, Schema

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError

# MLflow's signature refuses what its own request class takes: tools with a name, and a temperature of 1; and an input
# that is a text, which OpenAI's clients send.
_LET_THROUGH = {"input": AnyType(), "tools": Array(AnyType()), "temperature": AnyType(), "top_p": AnyType()}
# What MLflow's own request class drops.
_BESIDE = ("instructions", names.PARAM_STATUS)
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            *(
                ColSpec(_LET_THROUGH.get(column.name, column.type), column.name, required=column.required)
                for column in RESPONSES_AGENT_INPUT_SCHEMA.inputs
            ),
            *(ColSpec(AnyType(), name, required=False) for name in _BESIDE),
        ]
    ),
    outputs=RESPONSES_AGENT_OUTPUT_SCHEMA,
)


class AgentRequest(ResponsesAgentRequest):
    """A request with what MLflow's own drops.

    Attributes:
        instructions: What is said before the input, as a system message.
        status_messages: Whether a stream tells which tools are called.
        model: The language model that is to answer.
    """

    instructions: str | None = None
    status_messages: bool | None = None
    model: str | None = None

    @pydantic.field_validator("input", mode="before")
    @classmethod
    def _said(cls, given: Any) -> Any:
        """A text is a message of the user."""
        return [{"role": "user", "content": given}] if isinstance(given, str) else given


def serve_agent(agent: ResponsesAgent) -> Any:
    """What `mlflow.pyfunc` calls an agent through, as it does with one that MLflow itself has saved."""
    return _Served(agent, None)


class _Served(_ResponsesAgentPyfuncWrapper):
    """Says what is wrong with a request; MLflow lets an error of pydantic's through, which its server cannot tell."""

    async def apredict(self, model_input: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """As `predict`, without holding up the event loop that runs."""
        response = await self.responses_agent.apredict(self._convert_input(model_input))
        return self._response_to_dict(response, ResponsesAgentResponse)

    async def apredict_stream(
        self, model_input: Any, params: dict[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """As `predict_stream`, without holding up the event loop that runs."""
        events = self.responses_agent.apredict_stream(self._convert_input(model_input))
        async with contextlib.aclosing(events):
            async for event in events:
                yield self._response_to_dict(event, ResponsesAgentStreamEvent)

    def _convert_input(self, model_input: Any) -> ResponsesAgentRequest:
        if isinstance(model_input, pd.DataFrame):
            row = {name: model_input[name].iloc[0] for name in model_input.columns}
            model_input = {name: _convert_llm_ndarray_to_list(value) for name, value in row.items()}
        # MLflow says what is wrong with what is no dict.
        is_body = isinstance(model_input, dict)
        return agent_request_of(model_input) if is_body else super()._convert_input(model_input)


def agent_request_of(body: dict[str, Any]) -> AgentRequest:
    """A request, of its body.

    Raises:
        InputError: If it is none.
    """
    try:
        return AgentRequest(**body)
    except pydantic.ValidationError as error:
        problems = dict.fromkeys(f"{_place(each['loc'])}: {each['msg']}" for each in error.errors())
        raise InputError(
            f"The request is none that an agent takes ({'; '.join([*problems][:2])}). Give {{'input': [{{'role': "
            "..., 'content': ...}]}."
        ) from None


def _place(location: tuple[Any, ...]) -> str:
    """Where it is, without the validators of pydantic's that stand in between."""
    return ".".join(str(part) for part in location if isinstance(part, int) or part.isidentifier())
