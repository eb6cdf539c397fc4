"""MLflow's current span: lent to threads while its trace takes spans, and the parent of none after that."""

import functools
import gc
import threading
import time
import weakref

import anyio
import mlflow
import pytest
from mlflow.entities import Span

from mlflow_dspy_plugin.seams.current_span import CurrentSpan
from mlflow_dspy_plugin.seams.mlflow import flush_traces
from mlflow_dspy_plugin.seams.spans import close_span, current_span, enter_span, is_live, leave_span, open_span
from mlflow_dspy_plugin.seams.threads import carry_into_threads
from tests.tracing.logs import warnings_logged
from tests.tracing.trees import open_traces


@pytest.fixture(autouse=True, params=["isolated", "shared"])
def carried(store, monkeypatch, request):
    """Spans are carried in both of MLflow's ways of keeping the current one, without a warning."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    monkeypatch.setenv("MLFLOW_USE_DEFAULT_TRACER_PROVIDER", str(request.param == "isolated").lower())
    mlflow.tracing.reset()
    before, undo = open_traces(), carry_into_threads([CurrentSpan()])
    with warnings_logged() as log:
        yield
    undo()
    mlflow.tracing.reset()
    assert (log, open_traces()) == ([], before)


class Waiting:
    """A thread that does one thing after another, when it is told to."""

    def __init__(self):
        self._turn, self._done, self._work, self._result = threading.Event(), threading.Event(), None, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while self._turn.wait(10) and self._work is not None:
            self._turn.clear()
            self._result, self._work = self._work(), None
            self._done.set()

    def do(self, work):
        self._done.clear()
        self._work = work
        self._turn.set()
        assert self._done.wait(10)
        result, self._result = self._result, None
        return result

    def end(self):
        self._work = None
        self._turn.set()
        self._thread.join()


@pytest.fixture
def thread():
    """Starts the thread, and ends it with the test."""
    started = []

    def start():
        started.append(Waiting())
        return started[-1]

    yield start
    for each in started:
        each.end()


def name_of_current():
    span = mlflow.get_current_active_span()
    return span and span.name


def open_and_close(name):
    with mlflow.start_span(name):
        pass


def tree(traces):
    """Each trace as its spans' names with their parents'."""
    found = []
    for trace in traces():
        names = {span.span_id: span.name for span in trace.data.spans}
        found.append(sorted((span.name, names.get(span.parent_id)) for span in trace.data.spans))
    return sorted(found)


def test_a_thread_has_the_span_until_its_trace_ends(thread, traces):
    with mlflow.start_span("root"):
        with mlflow.start_span("parent"):
            other = thread()
            assert other.do(name_of_current) == "parent"
            other.do(lambda: open_and_close("early"))
        other.do(lambda: open_and_close("late"))
    assert other.do(name_of_current) is None
    other.do(lambda: open_and_close("own"))
    assert tree(traces) == [
        [("early", "parent"), ("late", "parent"), ("parent", "root"), ("root", None)],
        [("own", None)],
    ]


def test_a_thread_of_a_thread_has_it_too(thread):
    with mlflow.start_span("root"):
        inner = thread().do(thread)
        assert inner.do(name_of_current) == "root"
    assert inner.do(name_of_current) is None


def test_what_is_done_to_the_current_span_of_a_thread_is_done_to_the_span(thread, traces):
    def work():
        mlflow.get_current_active_span().set_attribute("by", "the thread")
        mlflow.update_current_trace(tags={"by": "the thread"})

    with mlflow.start_span("root"):
        thread().do(work)
    [found] = traces()
    assert found.data.spans[0].attributes["by"] == found.info.tags["by"] == "the thread"


def holders(reference):
    """What keeps the span, some seconds after all that have to do with it for a moment: threads of other tests too."""
    for _ in range(50):
        # A trace that has ended waits in a queue until it is written.
        flush_traces()
        # Before MLflow 3.10 or so, caches of its own keep the last spans.
        for each in gc.get_objects():
            if type(each) is type(functools.cache(len)) and each.__module__ == Span.__module__:
                each.cache_clear()
        # Does nothing where another thread collects at this moment.
        gc.collect()
        if reference() is None:
            return []
        time.sleep(0.1)
    return [repr(each)[:1000] for each in gc.get_referrers(reference())]


def test_a_thread_keeps_no_span(thread):
    with mlflow.start_span("root") as span:
        other = thread()
        assert other.do(name_of_current) == "root"
        reference = weakref.ref(span._span)
    del span
    assert holders(reference) == []


def test_a_worker_of_anyio_keeps_no_span():
    """It waits for more for as long as its loop runs."""

    async def below():
        with mlflow.start_span("root") as span:
            assert await anyio.to_thread.run_sync(name_of_current) == "root"
            return weakref.ref(span._span)

    async def main():
        assert holders(await below()) == []
        assert await anyio.to_thread.run_sync(name_of_current) is None

    anyio.run(main)


def test_a_span_is_live_while_it_or_its_root_is_open(traces):
    root = open_span("root", "CHAIN", None)
    child = open_span("child", "CHAIN", root)
    assert (is_live(root), is_live(child)) == (True, True)
    close_span(child, failed=False)
    assert (is_live(root), is_live(child)) == (True, True)
    close_span(root, failed=False)
    assert (is_live(root), is_live(child)) == (False, False)


def test_a_span_after_one_whose_trace_has_ended_begins_a_trace(traces):
    root = open_span("root", "CHAIN", None)
    token = enter_span(root)
    close_span(root, failed=False)
    assert current_span() is None
    close_span(open_span("beside", "CHAIN", current_span()), failed=False)
    leave_span(token)
    assert tree(traces) == [[("beside", None)], [("root", None)]]


def test_nothing_is_carried_where_tracing_is_off(thread):
    mlflow.tracing.disable()
    try:
        with mlflow.start_span("root"):
            assert thread().do(name_of_current) is None
    finally:
        mlflow.tracing.enable()
