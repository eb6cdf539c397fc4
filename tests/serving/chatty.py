"""Programs that chat; in a file of their own, which imports little: saving looks at it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import dspy


def look(place: str) -> str:
    """Looks there."""
    return f"a bear in {place}"


def looking(answer: str) -> Iterator[dict[str, Any]]:
    """What a `dspy.ReAct` with that tool is told by its language model."""
    yield {"next_thought": "look", "next_tool_name": "look", "next_tool_args": {"place": "the zoo"}}
    yield {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}}
    yield {"reasoning": "seen", "answer": answer}


class Messages(dspy.Module):
    """Takes messages, as MLflow's own flavor gives them, and tells what it was given."""

    def forward(self, messages):
        return json.dumps(messages)


class Both(dspy.Module):
    """Takes messages, and a history that they leave nothing for."""

    def forward(self, messages, history: dspy.History):
        return json.dumps([messages, history.messages])


class Anything(dspy.Module):
    def forward(self, inputs: Any, depth: int = 1):
        return json.dumps([inputs, depth])


class Untyped(dspy.Module):
    def forward(self, question, depth=1):
        return json.dumps([question, depth])


class Listed(dspy.Module):
    def forward(self, question: list[dict]):
        return json.dumps(question)


class Starred(dspy.Module):
    def forward(self, *args, **kwargs):
        return json.dumps(args[0])


class Awaited(dspy.Module):
    async def aforward(self, messages):
        return json.dumps(messages)


class Text(dspy.Module):
    def forward(self, question: str):
        return json.dumps({"question": question})


class Remembering(dspy.Module):
    def forward(self, question: str, history: dspy.History):
        return json.dumps({"question": question, "history": history.messages})


class Assistant(dspy.Module):
    """Has all that a chat can be about; its inputs without a part come from `custom_inputs`."""

    def forward(self, context: str, question: str, tools: list[dspy.Tool], pictures: list[dspy.Image], k: int = 3):
        offered = [tool.format_as_litellm_function_call()["function"] for tool in tools]
        offered = [{"name": each["name"], "properties": each["parameters"]["properties"]} for each in offered]
        urls = [picture.url for picture in pictures]
        return json.dumps({"context": context, "question": question, "tools": offered, "pictures": urls, "k": k})


class Seeing(dspy.Module):
    def forward(self, question: str, picture: dspy.Image | None = None):
        return json.dumps({"question": question, "picture": picture and picture.url})


class Caller(dspy.Signature):
    """Answer, or call a tool."""

    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    answer: str = dspy.OutputField()
    calls: dspy.ToolCalls = dspy.OutputField()


class Form(dspy.Module):
    """Answers in the form that it is told to."""

    def __init__(self, form="prediction"):
        super().__init__()
        self.form = form

    def forward(self, messages):
        answer = "the black bear"
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        return {
            "prediction": dspy.Prediction(reasoning="There is a show.", answer=answer),
            "last text": dspy.Prediction(first="no", bear=answer, count=3),
            "only one": dspy.Prediction(rationale="why", bears=["black", "brown"]),
            "number": dspy.Prediction(answer=3),
            "text": answer,
            "dict": {"role": "assistant", "answer": answer},
            "message": {"role": "assistant", "content": answer},
            "message that calls": {"role": "assistant", "content": None, "tool_calls": [call]},
            "list": [answer, {"answer": "a brown one"}],
            "no JSON": {"answer": set},
            "calls": dspy.Prediction(
                answer="", calls=dspy.ToolCalls.from_dict_list([{"name": "look", "args": {"at": 1}}])
            ),
            "no calls": dspy.Prediction(answer=answer, calls=dspy.ToolCalls(tool_calls=[])),
        }[self.form]


class Threads(dspy.Module):
    """Asks in threads of DSPy's two ways, one after the other."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str):
        asked = [dspy.Example(question=f"{question} {place}").with_inputs("question") for place in range(3)]
        dspy.Parallel(num_threads=3, disable_progress_bar=True)([(self.ask, each) for each in asked])
        self.ask.batch(asked, num_threads=3, disable_progress_bar=True)
        return self.ask(question=question)


class Gathering(dspy.Module):
    """Asks in tasks of an event loop, side by side."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    async def aforward(self, question: str):
        first, *_ = await asyncio.gather(*(self.ask.acall(question=question) for _ in range(3)))
        return first


class TwoSteps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("question -> draft")
        self.final = dspy.Predict("draft -> answer")

    def forward(self, question: str):
        return self.final(draft=self.draft(question=question).draft)
