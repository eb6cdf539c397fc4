"""The whole life of a program whose classes stand in a script: logged by default, registered, loaded, served.

No process that has it reads a pickle; so it is with the same program from code.
"""

import json

import pytest

from integration.conftest import CANARY_KEY

NO_PICKLES = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
MARKS = {"default": "*", "configured": "+", "code": "@"}


@pytest.fixture(scope="module")
def logged(run_program, lm_server):
    """What the script did."""
    return run_program("own_classes", LM_URL=lm_server).result


def marked(logged, mark):
    """The answers of the script with another mark, which a constructor's argument or a configuration decides."""
    return [{**answer, "marked": mark + answer["marked"][1:]} for answer in logged["answers"]]


def test_the_script_s_answers_are_labels_and_it_loads_its_own_class(logged):
    assert [answer["label"] for answer in logged["answers"]] == ["earn", "crude"]
    assert [answer["marked"] for answer in logged["answers"]] == ["*EARN", "*CRUDE"]
    assert logged["own"]


@pytest.mark.parametrize("kind", MARKS)
def test_a_fresh_process_that_refuses_pickles_gives_the_same_answers(logged, run_program, kind):
    inputs = json.dumps([{"text": text} for text in logged["texts"]])
    loaded = run_program("load_model", MODEL_URI=logged["uris"][kind], INPUTS=inputs, **NO_PICKLES)
    assert loaded.result["outputs"] == marked(logged, MARKS[kind])
    assert "cloudpickle" not in loaded.warned


@pytest.mark.parametrize("kind", MARKS)
def test_a_server_that_refuses_pickles_gives_the_same_answers(logged, served_model, kind):
    with served_model(logged["uris"][kind], **NO_PICKLES) as invoke:
        answers = [invoke({"dataframe_records": [{"text": text}]}) for text in logged["texts"]]
    assert answers == [{"predictions": answer} for answer in marked(logged, MARKS[kind])]


def test_a_server_of_the_registered_model_takes_another_configuration(logged, served_model):
    with served_model(logged["registered"], **NO_PICKLES) as invoke:
        assert invoke({"inputs": {"text": logged["texts"][0]}}) == {"predictions": logged["answers"][0]}
    override = {"MLFLOW_PYFUNC_INFERENCE_CONFIG": '{"mark": "!"}'}
    with served_model(logged["uris"]["configured"], **NO_PICKLES, **override) as invoke:
        assert invoke({"inputs": {"text": logged["texts"][0]}}) == {"predictions": marked(logged, "!")[0]}


def test_the_key_is_nowhere_and_no_pickle_is_stored(logged, tracking_server):
    assert "MLmodel" in tracking_server.files_holding("serialization_format: json")
    assert tracking_server.files_holding(CANARY_KEY) == []
    experiment = tracking_server.client.get_experiment_by_name("own classes").experiment_id
    stored = {path.name for path in (tracking_server.folder / "artifacts" / experiment).rglob("*") if path.is_file()}
    assert "program.json" in stored and "program.py" in stored
    assert not {name for name in stored if name.endswith(".pkl")}
