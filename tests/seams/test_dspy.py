"""What reaches into DSPy: callbacks beside the user's, and names that are put back."""

import importlib
import inspect

import dspy
import pytest

from mlflow_dspy_plugin.seams import dspy as seam
from mlflow_dspy_plugin.seams import programs
from tests.fakes.scripted import scripted_lm


@pytest.fixture(autouse=True)
def no_callbacks(store):
    # dspy 3.0 leaves a callback of its own in the user's list when it streams.
    dspy.configure(callbacks=[])


class Watching(seam.Watcher):
    """A callback of the package."""


def test_callbacks_are_beside_the_user_s_and_gone_after_the_undo():
    original = vars(type(dspy.settings))["get"]
    mine = dspy.utils.callback.BaseCallback()
    watching = Watching()
    undo = seam.install_callbacks([watching])
    dspy.configure(callbacks=[mine])
    assert dspy.settings.get("callbacks", []) == [mine, watching]
    assert dspy.settings.callbacks == [mine]
    assert dspy.settings.get("num_threads") == dspy.settings.num_threads
    assert dspy.settings.get("no such setting", "default") == "default"
    undo()
    assert vars(type(dspy.settings))["get"] is original
    assert dspy.settings.get("callbacks") == [mine]
    assert not watching.installed


class Hearing(seam.Watcher):
    """A callback of the package that keeps what it hears."""

    def __init__(self, heard, name, listening=True):
        self.heard, self.name, self.listening = heard, name, listening

    def listens(self):
        return self.listening

    def on_module_start(self, call_id, instance, inputs):
        self.heard.append((self.name, "start", type(instance).__name__))

    def on_module_end(self, call_id, outputs, exception=None):
        self.heard.append((self.name, "end", outputs.answer))


class HearingLM(Hearing):
    def on_lm_start(self, call_id, instance, inputs):
        self.heard.append((self.name, "start", "LM"))


def test_those_that_listen_are_one_callback_and_each_hears_all_of_a_call():
    heard = []
    first, deaf, last = Hearing(heard, "first"), Hearing(heard, "deaf", listening=False), HearingLM(heard, "last")
    undo = seam.install_callbacks([first, deaf, last])
    assert len(dspy.settings.get("callbacks")) == 1
    with dspy.context(lm=scripted_lm({"answer": "a"})):
        dspy.Predict("question -> answer")(question="q")
    assert heard == [
        ("first", "start", "Predict"),
        ("last", "start", "Predict"),
        ("last", "start", "LM"),
        ("first", "end", "a"),
        ("last", "end", "a"),
    ]
    first.listening = False
    assert dspy.settings.get("callbacks") == [last]
    last.listening = False
    assert dspy.settings.get("callbacks") == []
    undo()


def test_a_copy_of_the_callbacks_that_was_configured_is_not_called_twice():
    """Other instrumentation reads the callbacks, adds its own, and configures the list."""
    watching = Watching()
    undo = seam.install_callbacks([watching])
    dspy.configure(callbacks=dspy.settings.get("callbacks", []))
    assert dspy.settings.get("callbacks") == [watching]
    undo()
    assert dspy.settings.get("callbacks") == [watching]
    again = seam.install_callbacks([fresh := Watching()])
    assert dspy.settings.get("callbacks") == [fresh]
    again()


def test_what_somebody_else_has_replaced_since_stays(monkeypatch):
    undo = seam.install_callbacks([Watching()])
    settings_class = type(dspy.settings)
    ours = settings_class.get
    theirs = lambda self, key, default=None: ours(self, key, default)  # noqa: E731
    monkeypatch.setattr(settings_class, "get", theirs)
    undo()
    assert settings_class.get is theirs
    assert dspy.settings.get("callbacks") == []
    monkeypatch.undo()
    settings_class.get = ours.__wrapped__


@pytest.mark.parametrize(
    ("name", "own", "ends"), [("finish", False, True), ("finish", True, False), ("search", False, False)]
)
def test_only_dspy_s_own_finish_tool_ends_an_agent(name, own, ends):
    agent = dspy.ReAct("question -> answer", tools=[dspy.Tool(lambda: 1, name="search", desc="d")])
    tool = dspy.Tool(lambda: 1, name=name, desc="d") if own else agent.tools[name]
    assert programs.ends_agent(tool) is ends
    assert programs.ends_agent(tool) is ends


def test_the_package_that_a_language_model_asks_by_is_told():
    told = {
        "LM": seam.backend_of(dspy.LM("openai/m")),
        "text": seam.backend_of(dspy.LM("openai/m", model_type="text")),
        "embedder": seam.backend_of(dspy.Embedder("openai/m")),
        "own embedder": seam.backend_of(dspy.Embedder(len)),
        "program": seam.backend_of(dspy.Predict("question -> answer")),
    }
    litellm = dict.fromkeys(["LM", "text", "embedder"], "litellm")
    assert told == {**dict.fromkeys(["own embedder", "program"]), **litellm}


@pytest.mark.skipif("engine" not in inspect.signature(dspy.LM).parameters, reason="this dspy has one engine")
def test_engines_that_are_no_litellm_need_none():
    assert seam.backend_of(dspy.LM("openai/m", engine="lm15")) is None
    assert seam.backend_of(dspy.LM("openai/m", engine="litellm")) == "litellm"
    assert seam.backend_of(scripted_lm({"answer": "x"})) is None
    typesafe = importlib.import_module("dspy.experimental").TypeSafe
    assert seam.backend_of(typesafe(api_key="k")) == "typesafe_sdk"
