"""Prompts of programs against a real `mlflow server`: registered, served by an alias, linked to traces, and in its UI."""

import json
import time

import dspy
import mlflow
import pytest

from integration.conftest import post
from integration.deployments import deployed
from tests.fakes.chat import Messages
from tests.fakes.openai_server import OpenAIServer

INSTRUCTIONS = {
    1: "Answer the question.",
    2: "Answer the question in one or two words.\n\nNever write {{braces}} into the answer.",
}
DEMO = dspy.Example(augmented=True, question="Who sails {{this}} ship?", answer="Ann\nand Bob")


def program_of(version: int) -> dspy.Predict:
    """The program before and after somebody optimized it."""
    program = dspy.Predict("question -> answer")
    program.signature = program.signature.with_instructions(INSTRUCTIONS[version])
    program.demos = [DEMO] if version == 2 else []
    return program


def told(messages: Messages, body: object) -> str:
    """A language model that answers how many examples it was shown."""
    shown = sum(message["role"] == "assistant" for message in messages)
    return f"[[ ## answer ## ]]\n{shown} examples\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def lm():
    with OpenAIServer({"m": told}) as server:
        yield server


@pytest.fixture
def asked(lm):
    """A function that calls a program, and returns the bodies of its requests."""

    def ask(program: dspy.Module) -> list[str]:
        lm.requests.clear()
        with dspy.context(lm=dspy.LM("openai/m", api_base=lm.base_url, api_key="none", cache=False)):
            program(question="Who?")
        return [json.dumps(request.body) for request in lm.requests]

    return ask


@pytest.fixture(scope="module", autouse=True)
def versions(tracking_server):
    """The two versions on the server, the first of them in production, by the run that found them."""
    mlflow.set_tracking_uri(tracking_server.uri)
    mlflow.set_experiment("Prompts")
    with mlflow.start_run(run_name="search"):
        mlflow.dspy.register_prompts(program_of(1), "sailing", commit_message="As it began", alias="production")
        mlflow.dspy.register_prompts(program_of(2), "sailing", commit_message="One demo, and shorter", alias="best")


def test_a_program_that_was_loaded_from_the_server_sends_the_same_bytes(asked):
    loaded = mlflow.dspy.load_prompts(program_of(1), "prompts:/sailing@best")
    assert asked(loaded) == asked(program_of(2)) != asked(program_of(1))


def test_traces_are_linked_to_the_version(asked, tracking_server):
    mlflow.set_experiment("Prompts traced")
    mlflow.dspy.autolog()
    try:
        asked(mlflow.dspy.load_prompts(program_of(1), "prompts:/sailing/2"))
    finally:
        mlflow.dspy.autolog(disable=True)
    deadline = time.monotonic() + 60
    while not any("mlflow.linkedPrompts" in trace.info.tags for trace in tracking_server.traces("Prompts traced")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    [trace] = tracking_server.traces("Prompts traced")
    assert json.loads(trace.info.tags["mlflow.linkedPrompts"]) == [{"name": "sailing", "version": "2"}]


def test_a_served_model_follows_its_alias(served_model, lm):
    mlflow.set_experiment("Prompts served")
    with dspy.context(lm=dspy.LM("openai/m", api_base=lm.base_url, cache=False)):
        info = mlflow.dspy.log_model(
            program_of(1), name="sailing", follow_prompts="prompts:/sailing@production", input_example={"question": "?"}
        )
    client = mlflow.MlflowClient()
    with served_model(info.model_uri, MLFLOW_DSPY_PROMPTS_SECONDS="0") as ask:

        def answer() -> str:
            return json.dumps(ask({"dataframe_records": [{"question": "Who?"}]}))

        assert "0 examples" in answer()
        client.set_prompt_alias("sailing", "production", 2)
        deadline = time.monotonic() + 60
        while "1 examples" not in answer():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        client.set_prompt_alias("sailing", "production", 1)
        while "0 examples" not in answer():
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_model_behind_the_production_server_follows_its_alias_and_its_traces_name_the_version(
    lm, tracking_server, environment, tmp_path
):
    mlflow.set_experiment("Prompts in production")
    with dspy.context(lm=dspy.LM("openai/m", api_base=lm.base_url, cache=False)):
        uri = mlflow.dspy.log_model(
            program_of(1), name="sailing", follow_prompts="prompts:/sailing@production"
        ).model_uri
    own = {
        "MLFLOW_TRACKING_URI": tracking_server.uri,
        "MLFLOW_EXPERIMENT_NAME": "Prompts in production",
        "MLFLOW_DSPY_PROMPTS_SECONDS": "0",
    }
    client = mlflow.MlflowClient()
    client.set_prompt_alias("sailing", "production", 1)
    with deployed(uri, tmp_path, {**environment, **own}) as server:

        def answer() -> str:
            return post(f"{server.url}/invocations", {"inputs": {"question": "Who?"}})["predictions"]["answer"]

        assert answer() == "0 examples"
        client.set_prompt_alias("sailing", "production", 2)
        deadline = time.monotonic() + 60
        while answer() != "1 examples":
            assert time.monotonic() < deadline
        client.set_prompt_alias("sailing", "production", 1)
    # It has written them all when it has ended.
    traces = tracking_server.traces("Prompts in production")
    linked = [json.loads(trace.info.tags["mlflow.linkedPrompts"]) for trace in (traces[0], traces[-1])]
    assert linked == [[{"name": "sailing", "version": "1"}], [{"name": "sailing", "version": "2"}]]


@pytest.fixture(scope="module")
def optimized(run_program, lm_server, reuters):
    """What an optimizer found, on Reuters R8."""
    return run_program("optimized_prompts", LM_URL=lm_server, REUTERS=reuters).result


def test_what_an_optimizer_found_on_reuters_comes_back_to_the_byte(optimized):
    assert len(optimized["demos"]) == 2 and "\n" in optimized["instructions"]
    assert optimized["loaded"] == optimized["found"]
    assert optimized["found"][1:] != optimized["before"][1:]


def test_the_run_that_found_a_version_names_it(optimized, tracking_server):
    tags = tracking_server.client.get_run(optimized["run_id"]).data.tags
    assert json.loads(tags["mlflow.linkedPrompts"]) == [{"name": "news", "version": "2"}]
    version = tracking_server.client.get_prompt_version("news", 2)
    assert version.tags["dspy_run_id"] == optimized["run_id"]
    assert version.template == optimized["template"]


@pytest.mark.skipif(
    not hasattr(mlflow.tracing, "context"), reason="the prompt page of this release of MLflow is another one"
)
def test_the_prompt_page_shows_what_an_optimizer_changed(optimized, browser, tracking_server, screenshots):
    browser.open(f"{tracking_server.uri}/#/prompts/news")
    browser.wait_for("news", "Rules of SIMBA", "Possible labels are")
    # MLflow's assistant, beside it; and the menu.
    browser.close_assistant()
    browser.click("Toggle sidebar")
    browser.click("Compare")
    browser.wait_for("Comparing version 2 with version 1")
    browser.click("Text")
    browser.click("Switch sides")
    browser.wait_for("Comparing version 1 with version 2")
    browser.screenshot(screenshots / "prompt-diff.png")
    assert optimized["demos"][0]["text"] in browser.text and "As it was written" in browser.text
