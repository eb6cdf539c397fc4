"""Threads and executors inherit the given variables from where they were started, and nothing else."""

import asyncio
import contextvars
import functools
import gc
import multiprocessing.pool
import pickle
import threading
import traceback
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from mlflow_dspy_plugin.seams.threads import carry_into_threads

CARRIED = contextvars.ContextVar("carried")
OTHER = contextvars.ContextVar("other", default="as in every thread")


class Value:
    """What can be referred to weakly."""


@pytest.fixture
def originals():
    """What was there before; not Python's own where a chat model has been loaded in this process."""
    return threading.Thread.start, ThreadPoolExecutor.submit


@pytest.fixture(autouse=True)
def carrying(originals):
    undo = carry_into_threads([CARRIED])
    yield undo
    undo()
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == originals


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


@pytest.fixture(autouse=True)
def value():
    """What is carried, and what is not."""
    tokens = [CARRIED.set("mine"), OTHER.set("mine alone")]
    yield
    CARRIED.reset(tokens[0])
    OTHER.reset(tokens[1])


def seen():
    return CARRIED.get("nothing"), OTHER.get()


INHERITED = ("mine", "as in every thread")
NOTHING = ("nothing", "as in every thread")


def in_thread(make):
    """What a thread sees that `make` makes from a function."""
    found = []
    thread = make(lambda: found.append(seen()))
    thread.start()
    thread.join()
    return found[0]


class Overriding(threading.Thread):
    def __init__(self, work):
        super().__init__()
        self.work = work

    def run(self):
        self.work()


def with_run_of_its_own(work):
    thread = threading.Thread()
    thread.run = work
    return thread


def in_executor():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(seen).result()


def in_map():
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(lambda _: seen(), [0]))


def in_nested_executor():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(in_executor).result()


def in_default_executor():
    async def main():
        return await asyncio.get_running_loop().run_in_executor(None, seen)

    return asyncio.run(main())


def in_thread_pool():
    with multiprocessing.pool.ThreadPool(1) as pool:
        return pool.apply(seen)


WAYS = {
    "Thread": lambda: in_thread(lambda work: threading.Thread(target=work)),
    "Timer": lambda: in_thread(lambda work: threading.Timer(0, work)),
    "a run that is overridden": lambda: in_thread(Overriding),
    "a run of the instance": lambda: in_thread(with_run_of_its_own),
    "submit": in_executor,
    "map": in_map,
    "an executor in an executor": in_nested_executor,
    "run_in_executor": in_default_executor,
    "multiprocessing's thread pool": in_thread_pool,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_runs_in_another_thread_inherits_the_variable_alone(way):
    assert way() == INHERITED


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_not_set_is_not_set_there(way):
    assert contextvars.Context().run(way) == NOTHING


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_after_the_undo_nothing_is_inherited(way, carrying):
    carrying()
    assert way() == NOTHING


def test_a_task_inherits_from_where_it_was_submitted():
    """And not from where its worker's thread was started."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(seen).result() == INHERITED
        assert contextvars.Context().run(pool.submit, seen).result() == NOTHING
        CARRIED.set("changed")
        assert pool.submit(seen).result()[0] == "changed"


def test_a_thread_inherits_from_where_it_was_started():
    """And not from where it was made."""
    thread = contextvars.Context().run(threading.Thread, target=lambda: found.append(seen()))
    found = []
    thread.start()
    thread.join()
    assert found == [INHERITED]


def test_a_context_that_the_user_copies_wins():
    context = contextvars.copy_context()
    context.run(CARRIED.set, "copied")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(context.run, seen).result() == ("copied", "mine alone")
        assert pool.submit(seen).result() == INHERITED


def test_a_task_that_sets_the_variable_leaves_it_to_no_other():
    def setting():
        CARRIED.set("by the task")
        return seen()[0]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(setting).result() == "by the task"
        assert contextvars.Context().run(pool.submit, seen).result() == NOTHING
    assert CARRIED.get() == "mine"


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt("mine"), SystemExit("mine")], ids=repr)
def test_an_exception_arrives_as_it_was_raised(error):
    def failing():
        raise error

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(failing)
        assert future.exception() is error
        assert contextvars.Context().run(pool.submit, seen).result() == NOTHING
    assert traceback.extract_tb(error.__traceback__)[-1].name == "failing"


def test_an_exception_of_a_thread_is_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append((args.exc_type, args.thread)))
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert told == [(ZeroDivisionError, thread)]


def test_arguments_and_results_pass_untouched():
    def function(*args, **kwargs):
        return args, kwargs

    argument = object()
    with ThreadPoolExecutor(1) as pool:
        args, kwargs = pool.submit(function, argument, self=1, fn=2, function=3).result()
        assert args[0] is argument
        assert kwargs == {"self": 1, "fn": 2, "function": 3}
        with pytest.raises(TypeError, match="submit"):
            pool.submit()


def test_a_thread_looks_as_it_does_without(carrying):
    def look(thread):
        before = dict(vars(thread))
        thread.start()
        thread.join()
        return set(vars(thread)) - set(before), thread.run.__func__, during[-1]

    def target():
        during.append((threading.current_thread()._target is target, "run" in vars(threading.current_thread())))

    during = []
    here = look(threading.Thread(target=target))
    carrying()
    assert here == look(threading.Thread(target=target))
    assert here[2] == (True, False)


def test_a_thread_whose_run_was_set_on_it_has_it_back():
    run = lambda: None  # noqa: E731
    thread = with_run_of_its_own(run)
    thread.start()
    thread.join()
    assert thread.run is run


def test_a_start_that_fails_leaves_nothing():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="once"):
        thread.start()
    assert "run" not in vars(thread)
    unmade = threading.Thread.__new__(threading.Thread)
    with pytest.raises(RuntimeError, match="__init__"):
        unmade.start()
    assert vars(unmade) == {}


def test_an_idle_worker_keeps_nothing_of_the_first_who_needed_it():
    def first():
        CARRIED.set(value := Value())
        pool.submit(seen).result()
        return weakref.ref(value)

    with ThreadPoolExecutor(1) as pool:
        reference = contextvars.Context().run(first)
        gc.collect()
        assert reference() is None


def test_what_somebody_else_has_wrapped_since_stays_and_carries_nothing(carrying, originals, monkeypatch):
    ours = threading.Thread.start
    theirs = functools.wraps(ours)(lambda self: ours(self))
    monkeypatch.setattr(threading.Thread, "start", theirs)
    carrying()
    assert threading.Thread.start is theirs
    assert WAYS["Thread"]() == NOTHING
    monkeypatch.undo()
    threading.Thread.start = originals[0]


def test_the_undo_in_the_middle_of_a_task_takes_nothing_from_it(carrying):
    def work():
        carrying()
        return CARRIED.get()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == "mine"
        assert pool.submit(seen).result() == NOTHING


def test_processes_are_left_alone():
    before = ProcessPoolExecutor.submit
    assert not hasattr(before, "__wrapped__")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(pickle.loads, pickle.dumps("pickled")).result() == "pickled"
