"""Every optimizer tells of its compile, on the releases of DSPy that do it themselves and on the others."""

import asyncio
import contextlib

import dspy
import pytest
from dspy.teleprompt.teleprompt import Teleprompter
from dspy.utils.callback import BaseCallback

from mlflow_dspy_plugin.seams.compile_events import report_compiles

STUDENT = dspy.Predict("question -> answer")


class Early(Teleprompter):
    """An optimizer that exists before anything is installed."""

    def compile(self, student, *, trainset, extra=3):
        if extra == 0:
            raise ValueError("nothing to do")
        return student


class Heir(Early):
    """An override that calls its parent's."""

    def compile(self, student, *, trainset, extra=3):
        return super().compile(student, trainset=trainset, extra=extra)


class Diamond(Heir, Early):
    """Reached by two ways."""


class Recording(BaseCallback):
    def __init__(self):
        self.events = []

    def on_compile_start(self, call_id, instance, inputs):
        self.events.append(("start", type(instance).__name__, inputs))

    def on_compile_end(self, call_id, outputs, exception=None):
        self.events.append(("end", outputs, exception))


@pytest.fixture
def recording():
    recording, undo = Recording(), report_compiles()
    with dspy.context(callbacks=[recording]):
        yield recording
    undo()


@pytest.mark.parametrize("optimizer", [Early(), Heir(), Diamond()], ids=lambda o: type(o).__name__)
def test_a_compile_is_told_once_with_its_arguments_by_name(optimizer, recording):
    assert optimizer.compile(STUDENT, trainset=[1]) is STUDENT
    assert recording.events == [
        ("start", type(optimizer).__name__, {"student": STUDENT, "trainset": [1], "extra": 3}),
        ("end", STUDENT, None),
    ]


def test_an_optimizer_defined_later_is_told_too(recording):
    class Late(Teleprompter):
        def compile(self, student, *, trainset):
            return student

    Late().compile(STUDENT, trainset=[])
    assert [event[0] for event in recording.events] == ["start", "end"]


def test_an_asynchronous_compile_ends_when_it_has_returned(recording):
    class Asynchronous(Teleprompter):
        async def compile(self, student, *, trainset):
            await asyncio.sleep(0)
            return student

    assert asyncio.run(Asynchronous().compile(STUDENT, trainset=[])) is STUDENT
    assert recording.events[-1] == ("end", STUDENT, None)


def test_a_compile_within_a_compile_is_told_on_its_own(recording):
    class Outer(Teleprompter):
        def compile(self, student, *, trainset):
            return Early().compile(student, trainset=trainset)

    Outer().compile(STUDENT, trainset=[])
    assert [event[:2] for event in recording.events] == [
        ("start", "Outer"),
        ("start", "Early"),
        ("end", STUDENT),
        ("end", STUDENT),
    ]


def test_a_failure_is_told_and_leaves_unchanged(recording):
    with pytest.raises(ValueError, match="nothing to do") as raised:
        Early().compile(STUDENT, trainset=[], extra=0)
    assert recording.events[-1] == ("end", None, raised.value)


def test_arguments_that_do_not_fit_are_refused_by_python_as_ever(recording):
    with pytest.raises(TypeError, match=r"compile\(\)"):
        Early().compile(STUDENT)


def test_a_callback_that_raises_costs_no_compile(recording):
    class Faulty(Recording):
        def on_compile_start(self, call_id, instance, inputs):
            raise ValueError("the user's callback")

        def on_compile_end(self, call_id, outputs, exception=None):
            raise ValueError("the user's callback")

    with dspy.context(callbacks=[Faulty(), recording]):
        assert Early().compile(STUDENT, trainset=[]) is STUDENT
    assert [event[0] for event in recording.events] == ["start", "end"]


def test_every_class_is_as_it_was_after_the_undo():
    classes = [Teleprompter, Early, Heir, Diamond, dspy.BootstrapFewShot, dspy.SIMBA]
    before = [dict(vars(cls)) for cls in classes]
    undo = report_compiles()
    undo()
    assert [dict(vars(cls)) for cls in classes] == before


@pytest.mark.skipif(hasattr(BaseCallback, "on_compile_start"), reason="dspy tells of compiles itself")
def test_what_somebody_else_has_wrapped_since_stays():
    original = vars(Early)["compile"]
    undo = report_compiles()
    theirs = Early.compile = lambda self, *args, **kwargs: "theirs"
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, Early, "compile", original)
        undo()
        assert vars(Early)["compile"] is theirs
