"""Where the keys of a program's language models come from, and what is said where one is missing."""

import json
import logging

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.programs.keys import (
    describe_lms,
    key_variables,
    warn_of_missing_keys,
    with_keys_of_here,
)
from mlflow_dspy_plugin.redaction import environment_variable_of
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import QA


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def lines_of(caplog, program=None, **settings) -> list[str]:
    with caplog.at_level(logging.WARNING, "mlflow_dspy_plugin"):
        warn_of_missing_keys(program or dspy.Predict("q -> a"), settings)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("model", "variables"),
    [
        ("openai/gpt-4o-mini", ("OPENAI_API_KEY",)),
        ("gpt-4o-mini", ("OPENAI_API_KEY",)),
        ("o3-mini", ("OPENAI_API_KEY",)),
        ("claude-3-5-haiku-latest", ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")),
        ("openrouter/anthropic/claude-3.5", ("OPENROUTER_API_KEY", "OR_API_KEY")),
        ("gemini/gemini-2.0-flash", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        ("vertex_ai/gemini-2.0-flash", ("GOOGLE_APPLICATION_CREDENTIALS",)),
        ("ollama_chat/llama3", ()),
        ("hosted_vllm/qwen", ()),
        ("something", ()),
        ("scripted/model", ()),
    ],
)
def test_the_variables_of_a_model_are_those_of_its_provider(model, variables):
    assert key_variables(model) == variables


class Adapter(dspy.ChatAdapter):
    """Holds a language model, as `dspy.TwoStepAdapter` does."""

    def __init__(self, lm):
        super().__init__()
        self.extraction_model = lm


class Judge(dspy.Module):
    """Holds language models outside of its predictors."""

    def __init__(self, lm):
        super().__init__()
        self.inner = QA()
        self.judges = {"first": [lm], "sk-abcdefghijklmnop1234": lm}
        self.itself = self
        self.inner.rewrite.lm = lm


def test_every_language_model_is_described_once_with_all_of_its_places_and_no_secret():
    base = "https://user:pass-12345@gateway.example/v1?api_key=abcdefgh12345"
    shared = dspy.LM("groq/llama", api_base=base, api_key="own-key-12345")
    copy = dspy.LM("groq/llama", api_base=base)
    described = describe_lms(
        Judge(shared),
        {"lm": dspy.LM("openai/gpt-4o-mini", api_key="own-key-12345"), "adapter": Adapter(copy), "num_threads": 3},
    )
    assert described == [
        {"where": ["settings.lm"], "model": "openai/gpt-4o-mini", "variables": ["OPENAI_API_KEY"]},
        {
            "where": [
                "settings.adapter.extraction_model",
                "program.inner.rewrite.lm",
                "program.judges.first.0",
                "program.judges.[REDACTED]",
            ],
            "model": "groq/llama",
            "api_base": "https://gateway.example/v1?[REDACTED]",
            "variables": ["GROQ_API_KEY"],
        },
    ]
    assert json.loads(json.dumps(described)) == described


def test_a_program_without_language_models_has_none_described():
    assert describe_lms(QA(), {"adapter": dspy.JSONAdapter()}) == []


def test_a_missing_key_is_one_line_that_names_the_language_model_and_the_variable(caplog):
    program = QA()
    program.set_lm(dspy.LM("gemini/flash"))
    assert lines_of(caplog, program, lm=dspy.LM("openai/gpt-4o-mini")) == [
        "The language model 'openai/gpt-4o-mini' (settings.lm) needs a key: set OPENAI_API_KEY.",
        "The language model 'gemini/flash' (program.rewrite.lm, program.answer.predict.lm) needs a key: "
        "set GEMINI_API_KEY or GOOGLE_API_KEY.",
    ]


def test_any_one_of_the_variables_is_enough_but_not_an_empty_one(caplog, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "")
    assert len(lines_of(caplog, lm=dspy.LM("gemini/flash"))) == 1
    caplog.clear()
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    assert lines_of(caplog, lm=dspy.LM("gemini/flash")) == []


class Own(dspy.BaseLM):
    """A language model of the user's, with a connection of its own."""


@pytest.mark.parametrize(
    "lm",
    [
        lambda: Own("openai/gpt-4o-mini"),
        lambda: dspy.LM("ollama_chat/llama3", api_base="http://127.0.0.1:11434"),
        lambda: dspy.LM("openai/gpt-4o-mini", api_key="kept-by-core-1"),
        lambda: dspy.LM("azure/gpt", azure_ad_token_provider=lambda: "token"),
        lambda: dspy.LM("bedrock/nova"),
        lambda: scripted_lm("x"),
    ],
    ids=["own class", "local", "own key", "token provider", "found elsewhere", "unknown provider"],
)
def test_nothing_is_said_where_no_variable_is_needed(caplog, lm):
    assert lines_of(caplog, lm=lm()) == []


@pytest.mark.skipif(not hasattr(dspy, "lm15"), reason="engines came with dspy 3.4")
def test_a_custom_engine_has_a_connection_of_its_own(caplog):
    assert lines_of(caplog, lm=scripted_lm("x", model="openai/gpt-4o-mini")) == []


def test_a_server_on_this_machine_needs_the_variable_of_its_protocol(caplog):
    """As both ends of DSPy do: a key has to be there, if the server asks for it or not."""
    lm = dspy.LM("openai/local", api_base="http://127.0.0.1:9/v1", num_retries=0, cache=False)
    assert len(lines_of(caplog, lm=lm)) == 1
    with pytest.raises(Exception, match="OPENAI_API_KEY"):
        lm("hello")


def test_the_variable_that_holds_a_secret_is_found(monkeypatch):
    monkeypatch.setenv("A_PLACE", "canary-4c0ffee-5")
    assert environment_variable_of("canary-4c0ffee-5") == "A_PLACE"
    monkeypatch.setenv("MY_API_KEY", "canary-4c0ffee-5")
    assert environment_variable_of("canary-4c0ffee-5") == "MY_API_KEY"
    assert environment_variable_of("canary-4c0ffee-6") is None


def test_a_value_that_may_stand_in_a_variable_by_chance_is_not_found(monkeypatch):
    monkeypatch.setenv("A_PLACE", "local")
    assert environment_variable_of("local") is None


def test_a_model_logged_in_this_process_answers_by_the_language_model_whose_key_was_given_in_code(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with OpenAIServer({"m": lambda messages, body: "[[ ## answer ## ]]\nAye\n\n[[ ## completed ## ]]"}) as server:
        given = {"api_base": server.base_url, "api_key": "canary-key-4c0ffee", "cache": False}
        dspy.configure(lm=dspy.LM("openai/m", **given))
        mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
        assert mlflow.pyfunc.load_model("model").predict({"question": "Ahoy?"}) == {"answer": "Aye"}
    dspy.configure(lm=dspy.LM("openai/other", **given))
    saved = dspy.LM("openai/m")
    assert with_keys_of_here({"lm": saved})["lm"] is saved
