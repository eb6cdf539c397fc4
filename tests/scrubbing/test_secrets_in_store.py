"""No secret reaches the tracking store: run, logged model, registered model, and what is logged of it."""

from pathlib import Path
from typing import Any

import dspy
import mlflow
import pytest
from mlflow.models.resources import DatabricksServingEndpoint

from mlflow_dspy_plugin.errors import SecretError
from tests.scrubbing.canaries import CANARIES, files_with_canary, holds_canary
from tests.scrubbing.secret_places import past_call, predictor, set_to

pytestmark = pytest.mark.usefixtures("environment")


def everything(note: Any, secret: str) -> dict[str, Any]:
    """Arguments with a text in every place, and a secret wherever a name tells it."""
    named = {"note": note, "api_key": secret, "deep": {"list": [{"password": secret}], "note": note}}
    return {
        "params": {"note": note, "api_key": secret},
        "tags": {"note": note, "service_token": secret},
        "metadata": named,
        "model_config": named,
        "input_example": {"question": note},
        "registered_model_name": "registered",
    }


def log(lm: dspy.LM, **arguments: Any) -> Any:
    with mlflow.start_run(), dspy.context(lm=lm):
        return mlflow.dspy.log_model(set_to(predictor(), lm=lm), **{"name": "model", **arguments})


@pytest.mark.parametrize("canary", CANARIES)
def test_no_secret_with_a_telling_name_reaches_the_store(canary, store, said):
    secret = CANARIES[canary]
    lm = set_to(dspy.LM("openai/m", api_key=secret, headers={"X-Gate": secret}), history=past_call(secret))
    info = log(lm, **everything("plain", secret))
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path="copy")
    run, model = mlflow.get_run(info.run_id), mlflow.get_logged_model(info.model_id)
    assert run.data.params == {"note": "plain", "deep/list": "[{}]", "deep/note": "plain"}
    assert (model.params, model.tags["note"]) == ({"note": "plain"}, "plain")
    assert not files_with_canary(folder) and not files_with_canary(store.parent)
    printed = said()
    assert not holds_canary(printed.encode())
    for place in ("params.api_key", "tags.service_token", "metadata.api_key", "LM.kwargs.headers.X-Gate"):
        assert place in printed


def test_what_looks_like_a_secret_is_redacted_on_its_way_to_the_store(store):
    info = log(dspy.LM("openai/m"), **everything(f"it is {CANARIES['of a known form']}", "x"))
    run, model = mlflow.get_run(info.run_id), mlflow.get_logged_model(info.model_id)
    assert run.data.params["note"] == model.params["note"] == model.tags["note"] == "it is [REDACTED]"
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path="copy")
    assert not files_with_canary(folder) and not files_with_canary(store.parent)


def assert_refused(store: Path, said: Any, lm: dspy.LM, match: str, **arguments: Any) -> None:
    with pytest.raises(SecretError, match=match) as caught:
        log(lm, **arguments)
    assert mlflow.search_logged_models(output_format="list") == []
    assert not files_with_canary(store.parent)
    assert not holds_canary((said() + str(caught.value)).encode())


SECRET = CANARIES["of the environment"]
BESIDE = {
    "params": {"params": {"note": f"a {SECRET}"}},
    "tags": {"tags": {"note": [SECRET]}},
    "a registered name": {"registered_model_name": f"a {CANARIES['of a known form']}"},
    "a name": {"name": CANARIES["of a known form"]},
    "a type": {"model_type": SECRET},
    "resources": {"resources": [DatabricksServingEndpoint(endpoint_name=f"a {SECRET}")]},
    "model_config": {"model_config": {"note": SECRET}},
    "metadata": {"metadata": {"note": SECRET}},
}


@pytest.mark.parametrize("kind", BESIDE)
def test_a_secret_that_cannot_be_left_out_is_refused_before_anything_is_stored(kind, store, said):
    assert_refused(store, said, dspy.LM("openai/m"), "SOME_SERVICE_TOKEN|looks like a secret", **BESIDE[kind])


def test_the_key_of_a_language_model_is_refused_where_params_repeat_it(store, said):
    secret = CANARIES["of no form"]
    assert_refused(
        store,
        said,
        dspy.LM("openai/m", api_key=secret),
        "LM.kwargs.api_key.* in the name, params",
        params={"n": secret},
    )


def test_of_a_prompt_only_its_address_is_saved():
    mlflow.genai.register_prompt(name="known", template=f"Use {CANARIES['of a known form']} for {{{{x}}}}")
    info = log(dspy.LM("openai/m"), prompts=["prompts:/known/1"])
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path="copy")
    assert mlflow.models.Model.load(folder).prompts == ["prompts:/known/1"]
    assert not files_with_canary(folder)
