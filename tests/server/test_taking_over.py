"""A version that an alias moves to takes over a running server once it has shown itself: real registry, models, requests."""

import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pandas as pd
import pytest

from tests.conftest import store  # noqa: F401, the registry is in it
from tests.fakes.openai_server import Fault
from tests.server.conftest import bears
from tests.server.running import Running, running

MODELS = {"qa": "models:/qa@prod"}
MESSAGES = {"messages": [{"role": "user", "content": "Why?"}]}


def log(program=None, example=None, **options) -> int:
    """Log one more version; returns its number."""
    program = program or dspy.Predict("question -> answer")
    info = mlflow.dspy.log_model(
        program, name="qa", registered_model_name="qa", input_example=example, pip_requirements=[], **options
    )
    return info.registered_model_version


def move(version: int) -> None:
    mlflow.MlflowClient().set_registered_model_alias("qa", "prod", str(version))


def until(server: Running, ready: Callable[[dict], bool]) -> dict:
    """What the server tells of its model once it is such."""
    for _ in range(2000):
        told = server.client.get("/v1/models/qa").json()
        if ready(told):
            return told
    raise AssertionError(told)


def served_in(version: int) -> Callable[[dict], bool]:
    return lambda told: told["version"] == str(version)


def refused(told: dict) -> bool:
    return told["reload_failure"] is not None


@pytest.mark.parametrize(
    ("example", "options"),
    [
        (None, {}),
        ("Why?", {}),
        ({"question": "Why?"}, {}),
        (pd.DataFrame({"question": ["Why?"]}), {}),
        (({"question": "Why?"}, {"temperature": 0.5}), {}),
        (MESSAGES, {"task": "llm/v1/chat"}),
        ({"input": [{"role": "user", "content": "Why?"}]}, {"task": "agent/v1/responses"}),
    ],
    ids=["none", "text", "dict", "table", "params", "chat", "responses"],
)
def test_a_version_reads_and_answers_its_input_example_before_it_takes_over(lm, example, options):
    move(log())
    version = log(example=example, **options)
    with running(MODELS, reload=0.01) as server:
        move(version)
        told = until(server, lambda told: refused(told) or served_in(version)(told))
        assert (told["version"], told["reload_failure"]) == (str(version), None)
    assert lm.request_count == (example is not None)


def test_without_warming_up_the_language_model_is_not_asked(lm):
    move(log())
    version = log(example="Why?")
    with running(MODELS, reload=0.01, warm_up=False) as server:
        move(version)
        until(server, served_in(version))
    assert lm.request_count == 0


def test_what_the_language_model_fails_leaves_the_old_version_and_takes_over_once_it_does_not(lm):
    move(log())
    version = log(example="Why?")
    lm.models["bears"] = lambda messages, body: Fault(500, "out of order")
    with running(MODELS, reload=0.01) as server:
        move(version)
        told = until(server, refused)
        assert told["version"] == "1" and told["reload_failure"].startswith("Version 2: ")
        lm.models["bears"] = bears
        assert server.ask({"inputs": ["Why?"]}).status_code == 200
        assert until(server, served_in(version))["reload_failure"] is None


def test_what_takes_longer_than_a_request_may_does_not_take_over(lm):
    move(log())
    version = log(example="Why?")
    lm.latency = 30
    with running(MODELS, reload=0.01, timeout=0.2) as server:
        move(version)
        assert until(server, refused)["version"] == "1"


def test_whoever_is_being_answered_by_the_old_version_is_answered_to_the_end(lm):
    move(log())
    version = log()
    lm.chunk_latency = 0.02
    with running(MODELS, reload=0.01) as server, ThreadPoolExecutor(1) as pool:
        body = {"dataframe_records": [{"question": "Why?"}], "stream": True}
        stream = pool.submit(server.ask, body)
        while not lm.streaming:
            pass
        move(version)
        until(server, served_in(version))
        assert lm.streaming == 1
        assert stream.result().text.endswith("data: [DONE]\n\n")


def test_an_alias_that_moves_back_ends_what_was_said_of_the_version_that_failed(lm):
    first, second = log(), log(example="Why?")
    move(first)
    lm.models["bears"] = lambda messages, body: Fault(500, "out of order")
    with running(MODELS, reload=0.01) as server:
        move(second)
        until(server, refused)
        move(first)
        assert until(server, lambda told: not refused(told))["version"] == str(first)


def test_a_version_with_other_code_of_its_own_is_refused_since_the_process_has_the_old(lm, tmp_path, monkeypatch):
    def versioned(answer: str) -> dspy.Module:
        """A program of a module of the user's own, as a process of its own would log it."""
        source = f"""
            import dspy

            class Answering(dspy.Module):
                def forward(self, question: str):
                    return dspy.Prediction(answer={answer!r})
        """
        (tmp_path / "code" / "versioned_code.py").write_text(textwrap.dedent(source))
        sys.modules.pop("versioned_code", None)
        import versioned_code

        return versioned_code.Answering()

    (tmp_path / "code").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first, same, other = log(versioned("one")), log(versioned("one")), log(versioned("another"))
    move(first)
    sys.modules.pop("versioned_code")
    sys.path.remove(str(tmp_path / "code"))
    with running(MODELS, reload=0.01) as server:
        move(same)
        until(server, served_in(same))
        move(other)
        told = until(server, refused)
        assert "versioned_code" in told["reload_failure"] and "Start the server again" in told["reload_failure"]
        assert server.ask({"inputs": ["Why?"]}).json() == {"predictions": {"answer": "one"}}
    sys.modules.pop("versioned_code")
