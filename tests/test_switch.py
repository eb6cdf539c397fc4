"""`autolog()` switches on what is asked for, in every thread, and off again without a trace of itself."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter
from dspy.utils.callback import BaseCallback
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

from tests.fakes.scripted import Answer, scripted_lm
from tests.tracing.logs import warnings_logged

PREDICT = dspy.Predict("question -> answer")
TRAINSET = [dspy.Example(question=str(i), answer="a").with_inputs("question") for i in range(3)]


class Searching(Teleprompter):
    """An optimizer that asks its student, and evaluates it."""

    def compile(self, student, *, trainset):
        student(question="compiling")
        dspy.Evaluate(devset=trainset, metric=lambda *_: 1.0, num_threads=2)(student)
        return student


@pytest.fixture(autouse=True)
def lm(store):
    mlflow.tracing.reset()
    dspy.configure(lm=scripted_lm({"answer": "a"}))
    yield
    mlflow.tracing.reset()


def asked(found):
    """What the traced programs were asked."""
    return sorted(trace.data.spans[0].inputs["question"] for trace in found)


def patched():
    """All that autologging may replace."""
    from dspy.teleprompt import teleprompt

    owners = [type(dspy.settings), dspy.BaseLM, dspy.LM, BaseCallback, teleprompt.Teleprompter]
    owners += [threading.Thread, ThreadPoolExecutor]
    optimizers = [dspy.BootstrapFewShot, dspy.SIMBA, dspy.GEPA, Searching]
    found = {owner: dict(vars(owner)) for owner in owners + optimizers}
    if execution := sys.modules.get("dspy.clients.execution"):
        found[execution] = dict(vars(execution))
    return found


def test_all_is_as_it_was_after_autolog_is_disabled():
    import importlib.util

    if importlib.util.find_spec("dspy.clients.execution"):
        importlib.import_module("dspy.clients.execution")
    before = patched()
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)
    mlflow.dspy.autolog(log_traces=False)
    assert patched() != before
    mlflow.dspy.autolog(disable=True)
    assert patched() == before


def test_settings_are_never_touched():
    settings = dict(dspy.settings.config)
    for options in ({}, {"log_compiles": True, "log_evals": True}, {"disable": True}):
        mlflow.dspy.autolog(**options)
        assert dict(dspy.settings.config) == settings
        PREDICT(question="q")
        Searching().compile(PREDICT, trainset=TRAINSET)
        assert dict(dspy.settings.config) == settings
    assert dspy.settings.track_usage is False


@pytest.mark.parametrize("times", [1, 2, 3])
def test_twice_is_once(times, traces):
    for _ in range(times):
        mlflow.dspy.autolog()
    PREDICT(question="q")
    [found] = traces()
    assert len(found.data.spans) == 4


def test_nothing_is_recorded_before_and_after(traces):
    PREDICT(question="before")
    mlflow.dspy.autolog()
    PREDICT(question="between")
    mlflow.dspy.autolog(disable=True)
    PREDICT(question="after")
    assert asked(traces()) == ["between"]


def test_it_survives_what_the_user_configures_later(traces):
    mlflow.dspy.autolog()
    dspy.configure(callbacks=[BaseCallback()])
    PREDICT(question="1")
    dspy.configure(callbacks=[])
    PREDICT(question="2")
    with dspy.context(callbacks=[]):
        PREDICT(question="3")
    assert asked(traces()) == ["1", "2", "3"]


def test_it_can_be_called_from_any_thread(traces):
    errors = []

    def run(**options):
        try:
            mlflow.dspy.autolog(**options)
        except Exception as error:
            errors.append(error)

    for question, options in (("on", {}), ("off", {"disable": True})):
        thread = threading.Thread(target=run, kwargs=options)
        thread.start()
        thread.join()
        PREDICT(question=question)
    assert errors == []
    assert asked(traces()) == ["on"]


def test_inside_a_context_of_dspy_it_is_on_and_off_for_good(traces):
    with dspy.context(num_threads=1):
        mlflow.dspy.autolog()
    PREDICT(question="on")
    with dspy.context(num_threads=1):
        mlflow.dspy.autolog(disable=True)
    PREDICT(question="off")
    assert asked(traces()) == ["on"]


def test_a_copy_of_the_callbacks_that_the_user_has_configured_stops_too(traces):
    mlflow.dspy.autolog()
    dspy.configure(callbacks=dspy.settings.get("callbacks"))
    PREDICT(question="on")
    mlflow.dspy.autolog(disable=True)
    PREDICT(question="off")
    [found] = traces()
    assert (asked([found]), len(found.data.spans)) == (["on"], 4)


@pytest.mark.parametrize("later", [{"disable": True}, {"log_traces": False}, {}], ids=str)
def test_switching_in_the_middle_of_a_call_closes_what_is_open(later, traces):
    class Switching(dspy.Module):
        def forward(self, question):
            mlflow.dspy.autolog(**later)
            return PREDICT(question="inner")

    mlflow.dspy.autolog()
    with warnings_logged() as log:
        assert Switching()(question="outer").answer == "a"
        PREDICT(question="next")
    assert log == []
    found = traces()
    assert asked(found) == (["outer"] if later else ["next", "outer"])
    names = {len(trace.data.spans): trace.data.spans[0].name for trace in found}
    assert names == ({1: "Switching.forward"} if later else {5: "Switching.forward", 4: "Predict.forward"})
    assert not mlflow.tracing.trace_manager.InMemoryTraceManager.get_instance()._traces


def test_switching_off_while_an_lm_answers_closes_its_span(traces):
    def answer(messages):
        mlflow.dspy.autolog(disable=True)
        return Answer({"answer": "a"})

    mlflow.dspy.autolog()
    PREDICT(question="q", lm=scripted_lm(answer))
    [found] = traces()
    # What has not begun when it is switched off, parsing, has no span.
    assert [str(span.status.status_code.value) for span in found.data.spans] == ["OK"] * 3


OPTIONS = {
    "defaults": ({}, ["0", "1", "2", "plain"]),
    "no traces": ({"log_traces": False}, []),
    "none of evaluations": ({"log_traces_from_eval": False}, ["plain"]),
    "compiles too": (
        {"log_traces_from_compile": True},
        ["0", "0", "1", "1", "2", "2", "compiling", "plain"],
    ),
    "compiles, but no evaluations in them": (
        {"log_traces_from_compile": True, "log_traces_from_eval": False},
        ["compiling", "plain"],
    ),
    "silent": ({"silent": True}, ["0", "1", "2", "plain"]),
    "disabled": ({"disable": True}, []),
}


@pytest.mark.parametrize(("options", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_options_say_what_is_traced(options, expected, traces):
    mlflow.dspy.autolog(**options)
    PREDICT(question="plain")
    dspy.Evaluate(devset=TRAINSET, metric=lambda *_: 1.0, num_threads=2)(PREDICT)
    Searching().compile(PREDICT, trainset=TRAINSET)
    assert asked(traces()) == expected
    config = AUTOLOGGING_INTEGRATIONS["dspy"]
    assert {name: config[name] for name in options} == options


def test_after_a_compile_that_fails_programs_are_traced_again(traces):
    class Failing(Teleprompter):
        def compile(self, student, *, trainset):
            student(question="compiling")
            raise ValueError("cannot be compiled")

    mlflow.dspy.autolog()
    with pytest.raises(ValueError, match="cannot be compiled"):
        Failing().compile(PREDICT, trainset=TRAINSET)
    PREDICT(question="after")
    assert asked(traces()) == ["after"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["q"]),
        ({"exclude_flavors": ["dspy"]}, []),
        ({"disable": True}, []),
        ({"disable_for_unsupported_versions": True}, ["q"]),
        ({"log_traces": False}, []),
    ],
    ids=str,
)
def test_mlflow_autolog_finds_it(options, expected, traces):
    AUTOLOGGING_INTEGRATIONS.pop("dspy", None)
    try:
        mlflow.autolog(**options)
        PREDICT(question="q")
        assert asked(traces()) == expected
    finally:
        mlflow.autolog(disable=True)


def test_mlflow_autolog_leaves_what_the_user_has_set_for_dspy(traces):
    mlflow.dspy.autolog(disable=True)
    try:
        mlflow.autolog()
        PREDICT(question="q")
        assert traces() == []
    finally:
        mlflow.autolog(disable=True)
