"""`load_model(configure=...)`: which of the saved settings are set."""

import asyncio
import threading

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import InputError
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401


@pytest.fixture
def saved():
    """A model whose settings differ from DSPy's in three places; nothing is set after it."""
    dspy.configure(lm=scripted_lm({"answer": "saved"}), adapter=dspy.JSONAdapter(), num_threads=3)
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
    dspy.configure(lm=None, adapter=None, num_threads=8)
    return "model"


@pytest.mark.parametrize(
    ("configure", "expected"),
    [("if-unset", ("mine/model", dspy.JSONAdapter, 3)), (True, ("scripted/model", dspy.JSONAdapter, 3))],
)
def test_what_the_user_has_set_stays_or_not_as_configure_says(saved, configure, expected):
    dspy.configure(lm=scripted_lm("x", model="mine/model"), rm="mine")
    mlflow.dspy.load_model(saved, configure=configure)
    assert (dspy.settings.lm.model, type(dspy.settings.adapter), dspy.settings.num_threads) == expected
    assert dspy.settings.rm == "mine"


def test_nothing_is_set_where_configure_is_false(saved):
    before = dict(dspy.settings.config)
    mlflow.dspy.load_model(saved, configure=False)
    assert dict(dspy.settings.config) == before


def test_what_was_set_over_the_user_s_counts_as_set_by_loading(saved):
    dspy.configure(lm=scripted_lm("x", model="mine/model"))
    mlflow.dspy.load_model(saved, configure=True)
    dspy.configure(num_threads=5)
    mlflow.dspy.load_model(saved)
    assert (dspy.settings.lm.model, dspy.settings.num_threads) == ("scripted/model", 5)


@pytest.mark.parametrize("wrong", ["if_unset", None, 1])
def test_another_word_is_refused_before_anything_is_read(wrong):
    with pytest.raises(InputError, match="Give 'if-unset'.*True to set all, or False to set none"):
        mlflow.dspy.load_model("no such model", configure=wrong)


@pytest.mark.parametrize("configure", [True, "if-unset"])
def test_every_mode_works_in_tasks_of_an_event_loop_in_another_thread(saved, configure):
    models = []

    async def load():
        mlflow.dspy.load_model(saved, configure=configure)
        models.append(dspy.settings.lm.model)

    async def main():
        await asyncio.gather(load(), load())

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()
    assert models == ["scripted/model"] * 2
    assert dspy.settings.lm.model == "scripted/model"


def test_a_context_of_the_user_s_keeps_its_language_model(saved):
    mine = scripted_lm("x", model="mine/model")
    with dspy.context(lm=mine):
        mlflow.dspy.load_model(saved, configure=True)
        assert dspy.settings.lm is mine
    assert dspy.settings.lm.model == "scripted/model"
