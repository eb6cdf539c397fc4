"""The task `llm/v1/chat`: messages in, a chat completion out."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.serving.outputs import plain


def messages_of(data: Any) -> list[dict[str, Any]]:
    """The messages of one chat request, given as a dict or as the one-row table MLflow makes of it.

    Raises:
        InputError: If there is no list of messages in it.
    """
    if isinstance(data, pd.DataFrame) and len(data) == 1:
        data = {name: data[name].iloc[0] for name in data.columns}
    messages = data.get("messages") if isinstance(data, Mapping) else None
    if not isinstance(messages, (list, tuple, np.ndarray)) or not len(messages):
        what = f"rows: {len(data)}" if isinstance(data, pd.DataFrame) else f"{data!r:.100}"
        raise InputError(
            f"The input of a chat model is {{'messages': [{{'role': ..., 'content': ...}}]}}, but it "
            f"was given {type(data).__name__} ({what}). Give one request in that form."
        )
    return list(messages)


def completion_of(outputs: Any, model: str) -> dict[str, Any]:
    """What the program returned, as a chat completion of the OpenAI form.

    Args:
        outputs: A text, a prediction or a dict of fields, or a list of these (one choice each).
        model: The name of the model to report.
    """
    answers = outputs if isinstance(outputs, list) else [outputs]
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(index, answer) for index, answer in enumerate(answers)],
    }


def _choice(index: int, answer: Any) -> dict[str, Any]:
    fields = plain(answer)
    role = fields.get("role", "assistant") if isinstance(fields, Mapping) else "assistant"
    content = fields if isinstance(fields, str) else json.dumps(fields, default=str)
    message = {"role": role, "content": content}
    return {"index": index, "message": message, "finish_reason": "stop"}
