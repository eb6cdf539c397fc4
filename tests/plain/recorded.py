"""What a program sends to a language model, byte for byte: recorded behind OpenAI's protocol on loopback."""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from tests.fakes.chat import Body, Messages
from tests.fakes.openai_server import OpenAIServer

# Where the language models of this process and of its children are.
ADDRESS = "KINDS_LM_ADDRESS"
_WANTED = re.compile(r"\[\[ ## (\w+) ## \]\]")
# How answers are written to fields that say more than their type.
_ANSWERS = {
    "next_tool_args": '{"city": "Rome"}',
    "finished": "True",
    "next_selected_tool": "finish",
    "generated_code": "```python\nx = 1\n```",
    "tool_calls": '{"tool_calls": [{"name": "submit", "args": {"answer": "x"}}]}',
    "action": '{"tool_name": "Finish", "tool_input_query": "x"}',
    **dict.fromkeys(("precision", "recall", "completeness", "groundedness"), "0.5"),
}


def own_lm(**arguments: Any) -> dspy.LM:
    """A language model that is saved with a program, and is recorded too."""
    fixed = {"api_base": os.environ[ADDRESS], "cache": False, "num_retries": 0}
    return dspy.LM("openai/recorded", **{**fixed, **arguments})


@contextmanager
def recording(answers: dict[str, str], port: int = 0) -> Iterator[OpenAIServer]:
    """Serve the language model that answers each field with these texts, and any other one with "x".

    Programs keep its address: what they were saved with, another process finds at the same port.
    """

    def model(messages: Messages, body: Body) -> str:
        texts = [part if isinstance(part, str) else json.dumps(part) for part in (m["content"] for m in messages)]
        wanted = dict.fromkeys(_WANTED.findall(texts[-1].rpartition("espond with")[2]))
        tool = "finish" if "observation_0" in texts[-1] else "weather"
        known = {"next_tool_name": tool, **_ANSWERS, **answers}
        return "\n\n".join(f"[[ ## {name} ## ]]\n{known.get(name, 'x')}" for name in wanted)

    with OpenAIServer({"recorded": model}, port=port) as server:
        os.environ[ADDRESS] = server.base_url
        try:
            yield server
        finally:
            del os.environ[ADDRESS]


def sent(call: Callable[[], Any], server: OpenAIServer) -> list[str]:
    """The bodies of all requests that a call sends, and last what came of it."""
    server.requests.clear()
    # Failed answers, and interpreters that are not installed, are told by what came of it.
    logging.disable(logging.ERROR)
    try:
        with dspy.context(lm=own_lm(), disable_history=True), contextlib.redirect_stdout(None):
            outcome = repr(call())
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    finally:
        logging.disable(logging.NOTSET)
    return [*(json.dumps(request.body) for request in server.requests), outcome]
