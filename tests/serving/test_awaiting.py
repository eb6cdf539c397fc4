"""Which programs may run in the event loop of a server."""

import dspy
import pytest

from mlflow_dspy_plugin.serving.awaiting import is_awaited
from tests.fakes.scripted import scripted_lm

QA = "question -> answer"


class Both(dspy.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner or dspy.Predict(QA)

    def forward(self, **fields):
        return self.inner(**fields)

    async def aforward(self, **fields):
        return await self.inner.acall(**fields)


class Synchronous(dspy.Module):
    def forward(self, **fields):
        return dspy.Prediction(answer="")


class Overridden(Both):
    def forward(self, **fields):
        return dspy.Prediction(answer="of the subclass")


class CalledOtherwise(dspy.Predict):
    def __call__(self, **fields):
        return dspy.Prediction(answer="of the subclass")


class SynchronousLM(dspy.BaseLM):
    def forward(self, prompt=None, messages=None, **kwargs):
        raise NotImplementedError


class SynchronousAdapter(dspy.ChatAdapter):
    def __call__(self, lm, lm_kwargs, signature, demos, inputs):
        return [{"answer": "of the adapter"}]


class OnlyWords(dspy.ChatAdapter):
    def format_field_description(self, signature):
        return "as you like"


def tool(place: str) -> str:
    """Look."""
    return place


def with_lm(program, lm):
    program.set_lm(lm)
    return program


SOME = scripted_lm(lambda messages: {"answer": "x"})


@pytest.mark.parametrize(
    ("program", "settings", "awaited"),
    [
        (dspy.Predict(QA), {}, True),
        (dspy.ChainOfThought(QA), {"lm": SOME}, True),
        (Both(), {"lm": SOME, "adapter": dspy.JSONAdapter()}, True),
        (Both(dspy.ChainOfThought(QA)), {"adapter": OnlyWords()}, True),
        (Synchronous(), {}, False),
        (Both(Synchronous()), {}, False),
        (Overridden(), {}, False),
        (CalledOtherwise(QA), {}, False),
        (Both(CalledOtherwise(QA)), {}, False),
        (dspy.ReAct(QA, [tool]), {}, False),
        (Both(dspy.ReAct(QA, [tool])), {}, False),
        (dspy.ProgramOfThought(QA), {}, False),
        (dspy.BestOfN(dspy.Predict(QA), 2, lambda args, outputs: 1.0, 0.5), {}, False),
        (dspy.Predict(QA), {"lm": SynchronousLM("mine")}, False),
        (with_lm(Both(), SynchronousLM("mine")), {}, False),
        (dspy.Predict(QA), {"adapter": SynchronousAdapter()}, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_stands_for_the_synchronous_program_and_holds_up_nobody_is_awaited(program, settings, awaited):
    assert is_awaited(program, settings) is awaited
    assert is_awaited(program, settings) is awaited


def test_the_settings_of_here_count_where_the_model_has_none():
    with dspy.context(lm=SynchronousLM("mine")):
        assert not is_awaited(dspy.Predict(QA), {})
        assert is_awaited(dspy.Predict(QA), {"lm": SOME})
