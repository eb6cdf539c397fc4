"""Values handed down reach what is called, in its threads too, until they are taken back."""

import asyncio
import contextvars
import itertools
import threading

import dspy
import pytest

from mlflow_dspy_plugin.seams.handed_down import HANDED_DOWN, hand_down, inherited, take_back
from mlflow_dspy_plugin.seams.threads import carry_into_threads


@pytest.fixture(autouse=True)
def carried():
    undo = carry_into_threads([HANDED_DOWN])
    yield
    undo()
    assert HANDED_DOWN.get() == ()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_values_can_be_taken_back_in_any_order(order):
    handed = [hand_down(name="a"), hand_down(name="b"), hand_down(other="c")]
    values = ["a", "b"]
    assert (inherited("name"), inherited("other")) == ("b", "c")
    for count, index in enumerate(order, 1):
        take_back(handed[index])
        left = [values[i] for i in range(2) if i not in order[:count]]
        assert inherited("name") == (left[-1] if left else None)
    assert inherited("other") is None


def test_taking_back_twice_is_once():
    outer, inner = hand_down(name="a"), hand_down(name="a")
    take_back(inner)
    take_back(inner)
    assert inherited("name") == "a"
    take_back(outer)


def test_what_is_taken_back_is_gone_from_every_context():
    """A call that was cancelled may end in another context than the one it began in."""
    elsewhere = contextvars.copy_context()
    handed = elsewhere.run(hand_down, name="a")
    mine = hand_down(name="b")
    take_back(handed)
    assert (inherited("name"), elsewhere.run(inherited, "name")) == ("b", None)
    take_back(mine)


def test_tasks_do_not_see_each_other_s_values():
    async def one(name):
        handed = hand_down(name=name)
        await asyncio.sleep(0.01)
        seen = inherited("name")
        take_back(handed)
        return seen

    async def main():
        return await asyncio.gather(*map(one, "abc"))

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_workers_of_dspy_inherit_and_can_hand_down_on_their_own():
    class Worker(dspy.Module):
        def forward(self, i):
            before = inherited("name")
            handed = hand_down(name=i)
            inside = inherited("name")
            take_back(handed)
            return (before, inside, inherited("name"))

    handed = hand_down(name="parent")
    pairs = [(Worker(), {"i": i}) for i in range(4)]
    results = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
    take_back(handed)
    assert results == [("parent", i, "parent") for i in range(4)]


def test_a_thread_that_outlives_the_call_inherits_until_its_end():
    seen, taken_back, asked = [], threading.Event(), threading.Event()

    def work():
        seen.append(inherited("name"))
        asked.set()
        taken_back.wait(10)
        seen.append(inherited("name"))

    handed = hand_down(name="a")
    thread = threading.Thread(target=work)
    thread.start()
    asked.wait(10)
    take_back(handed)
    taken_back.set()
    thread.join()
    assert seen == ["a", None]


def test_dspy_s_settings_are_left_alone():
    before = dict(dspy.settings.config)
    handed = hand_down(name="a")
    with dspy.context(num_threads=2):
        assert inherited("name") == "a"
        inner = hand_down(name="b")
    assert inherited("name") == "b"
    take_back(inner)
    take_back(handed)
    assert dict(dspy.settings.config) == before
