"""The whole trace of each program of a table, however it is called, is as its picture in `whole_trees/`.

`DRAW=1 python -m pytest tests/tracing/test_whole_trees.py`, with the newest releases, draws the pictures anew: what
has changed is then in the diff.
"""

import asyncio
import contextlib
import os
from pathlib import Path

import dspy
import mlflow
import pytest

from tests.fakes.scripted import HAS_ENGINES, scripted_lm
from tests.tracing.pictures import chunks, picture
from tests.tracing.programs import CASES
from tests.tracing.trees import spans_named

PICTURES = Path(__file__).with_name("whole_trees")
# A span of the user's, for forms that need one to be one trace.
AROUND = "around"


def sync(program, inputs):
    program(**inputs)


def in_a_task(program, inputs):
    asyncio.run(program.acall(**inputs))


def in_a_thread(program, inputs):
    with mlflow.start_span(AROUND):
        dspy.Parallel(num_threads=2, disable_progress_bar=True)([(program, inputs)])


def streamed(program, inputs, is_async=False):
    async def consume():
        return [chunk async for chunk in dspy.streamify(program, is_async_program=is_async)(**inputs)]

    asyncio.run(consume())


def streamed_in_a_task(program, inputs):
    streamed(program, inputs, is_async=True)


FORMS = [sync, in_a_task, in_a_thread, streamed, streamed_in_a_task]


def suits(form, case):
    name = form.__name__
    return (case.has_aforward or "task" not in name) and (case.streams or "streamed" not in name)


CALLS = [(name, form) for name, case in CASES.items() for form in FORMS if suits(form, case)]


def called(case, form):
    """Call a new program of the case, whose making is no part of the trace."""
    with mlflow.dspy.context(enabled=False):
        program = case.make()
    lm = scripted_lm(case.answers, temperature=0.7, max_tokens=1000)
    # Which exception leaves which form is DSPy's affair.
    with dspy.context(lm=lm), contextlib.suppress(Exception) if case.fails else contextlib.nullcontext():
        form(program, case.inputs)


@pytest.mark.parametrize(("name", "form"), CALLS, ids=[f"{name}-{form.__name__}" for name, form in CALLS])
def test_the_trace_is_as_pictured(name, form, trace):
    called(CASES[name], form)
    found = trace()
    seen = picture(found, below=AROUND if form is in_a_thread else None)
    path = PICTURES / f"{name}.txt"
    if "DRAW" in os.environ:
        path.write_text(seen, encoding="utf-8")
    assert seen == path.read_text(encoding="utf-8")
    # A scripted LM of an older release stands where the chunks would be counted; `test_lm_calls.py` has real ones.
    if HAS_ENGINES and form in (streamed, streamed_in_a_task):
        answered = [span for span in spans_named(found, "LM.__call__") if span.outputs is not None]
        assert all(map(chunks, answered))
