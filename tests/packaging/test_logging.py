"""`log_model`: a program in a run, in the registry and as a logged model, and back from each of them."""

from importlib.metadata import version
from pathlib import Path

import dspy
import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.models import ModelSignature, get_model_info
from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy
from mlflow.models.resources import DatabricksServingEndpoint
from mlflow.types.schema import ColSpec, DataType, Schema

from mlflow_dspy_plugin.errors import ModelFolderError, ProgramError
from tests.fakes.scripted import scripted_lm
from tests.packaging.programs import QA, compiled


@pytest.fixture
def logged() -> tuple[str, mlflow.models.model.ModelInfo]:
    with mlflow.start_run() as run:
        info = mlflow.dspy.log_model(compiled(), name="model", registered_model_name="sailor")
    return run.info.run_id, info


def test_a_model_loads_from_every_address_that_mlflow_gives_it(logged, tmp_path):
    run_id, info = logged
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("sailor", "best", 1)
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / "copy"))
    addresses = [
        info.model_uri,
        f"models:/{info.model_id}",
        f"runs:/{run_id}/model",
        "models:/sailor/1",
        "models:/sailor@best",
        folder,
        Path(folder),
    ]
    for address in addresses:
        assert mlflow.dspy.load_model(address).demos == compiled().demos, address
    (tmp_path / "target").mkdir()
    assert mlflow.dspy.load_model("models:/sailor/1", dst_path=str(tmp_path / "target")).demos
    assert list((tmp_path / "target").rglob("MLmodel"))
    assert info.registered_model_version in (1, "1")


@pytest.mark.parametrize("uri", ["models:/nobody/1", "models:/sailor/7", "models:/sailor@worst", "runs:/0123/model"])
def test_an_address_with_no_model_is_refused_with_what_to_check(logged, uri):
    with pytest.raises(ModelFolderError, match=f"There is no model at '{uri}' .*check mlflow.get_tracking_uri"):
        mlflow.dspy.load_model(uri)


def test_logging_calls_no_language_model_and_starts_no_process(monkeypatch):
    lm = scripted_lm({"query": "x", "reasoning": "x", "answer": "x"})
    dspy.configure(lm=lm)
    started = []
    import subprocess

    original = subprocess.Popen.__init__

    def watch(self, *args, **kwargs):
        started.append(args)
        original(self, *args, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", watch)
    info = mlflow.dspy.log_model(QA(), name="model", input_example={"question": "What?"})
    assert info.run_id is None
    assert lm.script.requests == []
    # MLflow asks git for the commit of a run's source; nothing else may run.
    assert [args for args in started if "git" not in str(args)] == []
    assert info.signature.inputs.input_names() == ["question"]


def test_the_older_spelling_artifact_path_is_accepted():
    with mlflow.start_run() as run:
        info = mlflow.dspy.log_model(compiled(), "older")
    assert info.artifact_path
    assert mlflow.dspy.load_model(f"runs:/{run.info.run_id}/older").demos


def test_what_is_said_about_a_model_is_stored_without_secrets():
    with mlflow.start_run() as run:
        info = mlflow.dspy.log_model(
            compiled(),
            name="model",
            params={"depth": 3, "api_key": "canary-4c0ffee"},
            tags={"team": "sea", "password": "canary-4c0ffee"},
            metadata={"origin": "tests"},
            model_config={"k": 5, "api_key": "canary-4c0ffee"},
            model_type="sailor",
            step=4,
        )
    model = mlflow.get_logged_model(info.model_id)
    assert (model.params, model.model_type, model.tags["team"]) == ({"depth": "3"}, "sailor", "sea")
    assert "canary-4c0ffee" not in str(model.to_dictionary())
    run = mlflow.get_run(run.info.run_id)
    assert run.outputs.model_outputs[0].step == 4
    assert "canary-4c0ffee" not in str(run.to_dictionary())
    assert info.metadata["origin"] == "tests"
    assert get_model_info(info.model_uri).flavors["python_function"]["config"] == {"k": 5}


def test_an_existing_logged_model_can_be_filled():
    model = mlflow.initialize_logged_model(name="waiting")
    info = mlflow.dspy.log_model(compiled(), name="waiting", model_id=model.model_id)
    assert info.model_id == model.model_id
    assert mlflow.dspy.load_model(f"models:/{model.model_id}").demos


def test_an_auth_policy_is_recorded_and_refused_beside_resources():
    endpoint = DatabricksServingEndpoint(endpoint_name="endpoint")
    policy = AuthPolicy(system_auth_policy=SystemAuthPolicy(resources=[endpoint]))
    info = mlflow.dspy.log_model(compiled(), name="model", auth_policy=policy)
    recorded = mlflow.models.Model.load(info.model_uri).auth_policy["system_auth_policy"]["resources"]
    assert recorded["databricks"] == {"serving_endpoint": [{"name": "endpoint"}]}
    with pytest.raises(ProgramError, match="Both resources and an auth_policy were given. Give one"):
        mlflow.dspy.log_model(compiled(), name="other", auth_policy=policy, resources=[endpoint])
    assert len(mlflow.search_logged_models(output_format="list")) == 1


def test_resources_and_retriever_schema_are_recorded():
    mlflow.models.set_retriever_schema(primary_key="id", text_column="text", name="docs")
    info = mlflow.dspy.log_model(
        compiled(), name="model", resources=[DatabricksServingEndpoint(endpoint_name="endpoint")]
    )
    model = mlflow.models.Model.load(info.model_uri)
    assert model.resources["databricks"] == {"serving_endpoint": [{"name": "endpoint"}]}
    assert model.metadata["dependencies_schemas"]["retrievers"][0]["primary_key"] == "id"


@pytest.mark.parametrize("infer", [True, False])
def test_the_user_s_own_modules_are_logged_with_the_model(infer, tmp_path):
    info = mlflow.dspy.log_model(QA(), name="model", infer_code_paths=infer)
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / "copy"))
    assert Path(folder, "code/tests/packaging/programs.py").is_file() is infer


REQUIREMENTS = {
    "pip": ({"pip_requirements": ["dspy", "made-up==1"]}, ["dspy", "made-up==1"]),
    "extra": ({"extra_pip_requirements": ["made-up==1"]}, ["dspy==", "mlflow-dspy-plugin==", "made-up==1"]),
    "conda": ({"conda_env": {"dependencies": ["python", {"pip": ["made-up==1"]}]}}, ["made-up==1"]),
}


@pytest.mark.parametrize("kind", REQUIREMENTS)
def test_requirements_given_by_hand_are_written(kind, tmp_path):
    arguments, expected = REQUIREMENTS[kind]
    mlflow.dspy.save_model(compiled(), tmp_path / "model", **arguments)
    lines = (tmp_path / "model/requirements.txt").read_text().splitlines()
    assert [e for e in expected if not any(line.startswith(e) for line in lines)] == []
    if kind == "pip":
        assert not any(line.startswith("cloudpickle") for line in lines)
    assert yaml.safe_load((tmp_path / "model/conda.yaml").read_text())["dependencies"]


def test_requirements_given_by_hand_may_come_from_files_and_with_constraints(tmp_path):
    Path("wanted.txt").write_text("made-up\n-c limits.txt\n")
    Path("limits.txt").write_text("made-up<2\n")
    mlflow.dspy.save_model(compiled(), tmp_path / "pip", pip_requirements="wanted.txt")
    mlflow.dspy.save_model(compiled(), tmp_path / "extra", extra_pip_requirements=["-r wanted.txt"])
    conda = {"dependencies": ["python=3.12", {"pip": ["made-up", "-c limits.txt"]}]}
    Path("wanted.yaml").write_text(yaml.safe_dump(conda))
    mlflow.dspy.save_model(compiled(), tmp_path / "conda", conda_env="wanted.yaml")
    for kind in ("pip", "extra", "conda"):
        lines = (tmp_path / kind / "requirements.txt").read_text().splitlines()
        assert {"made-up", "-c constraints.txt"} <= set(lines), kind
        assert any(line.startswith("dspy==") for line in lines) is (kind == "extra")
        assert (tmp_path / kind / "constraints.txt").read_text().split() == ["made-up<2"]
    assert "python=3.12" in yaml.safe_load((tmp_path / "conda/conda.yaml").read_text())["dependencies"]


def test_the_requirements_are_the_flavor_s_own_and_those_of_the_program_pinned_as_installed(tmp_path):
    dspy.configure(lm=dspy.LM("openai/m"))
    mlflow.dspy.save_model(compiled(), tmp_path / "model")
    names = ["cloudpickle", "dspy", "litellm", "mlflow", "mlflow-dspy-plugin"]
    pinned = sorted(f"{name}=={version(name)}" for name in names)
    assert sorted((tmp_path / "model/requirements.txt").read_text().split()) == pinned
    conda = yaml.safe_load((tmp_path / "model/conda.yaml").read_text())
    assert sorted(conda["dependencies"][-1]["pip"]) == pinned


def test_a_signature_given_by_hand_is_kept():
    signature = ModelSignature(Schema([ColSpec("string", "question")]), Schema([ColSpec("string", "words")]))
    info = mlflow.dspy.log_model(compiled(), name="model", signature=signature, input_example={"question": "?"})
    assert info.signature == signature


EXAMPLES = {
    "none": (None, "question", None),
    "text": ("What?", None, "What?"),
    "dict": ({"question": "What?"}, "question", {"question": "What?"}),
    "table": (pd.DataFrame([{"question": "What?"}]), "question", [{"question": "What?"}]),
    "with params": (({"question": "What?"}, {"n": 1}), "question", {"question": "What?"}),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_signature_is_read_from_the_program_whatever_the_example(kind):
    example, name, stored = EXAMPLES[kind]
    info = mlflow.dspy.log_model(compiled(), name="model", input_example=example)
    (column,) = info.signature.inputs.inputs
    assert (column.name, column.type) == (name, DataType.string)
    assert info.signature.outputs == Schema([ColSpec("string", "answer")])
    loaded = mlflow.models.Model.load(info.model_uri).load_input_example(info.model_uri)
    loaded = loaded.to_dict("records") if isinstance(loaded, pd.DataFrame) else loaded
    assert loaded == stored or loaded == stored[0]


def test_the_folder_that_is_logged_names_the_package_as_its_loader_and_itself_as_its_address(logged):
    _, info = logged
    model = mlflow.models.Model.load(info.model_uri)
    assert model.flavors["python_function"]["loader_module"] == "mlflow_dspy_plugin"
    assert (model.model_id, model.run_id) == (info.model_id, logged[0])
    assert model.model_size_bytes > 1000
