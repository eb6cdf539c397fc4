"""Makes the golden models of MLflow's own flavor, for the releases of DSPy and MLflow that it runs with.

It was run once for each release that the folders below `core` name; from the root of the checkout, all of them::

    for versions in '3.10 3.0.3 3.4.0' '3.11 3.1.3 3.9.0' '3.11 3.2.1 3.9.0' '3.12 3.3.1 3.13.0' '3.12 3.4.1 3.17.2'; do
        read -r python dspy mlflow <<< "$versions"
        uv run --no-project --python "$python" --with "dspy==$dspy,mlflow==$mlflow" \
            python -m tests.golden.make_core_models tests/golden/core
    done

Each program was called before it was saved, and MLflow's tracer was on: what both leave in a model is in these too.
"""

import os

# Read when these packages are imported, and by the language model.
os.environ["MLFLOW_DSPY_PLUGIN"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["NO_PROXY"] = "127.0.0.1"
os.environ["OPENAI_API_KEY"] = "key-of-the-golden-models"

import inspect
import sys
import tempfile
from pathlib import Path

import dspy
import mlflow
import mlflow.dspy
from packaging.version import Version

from tests.fakes.openai_server import OpenAIServer
from tests.golden.program import MODEL, QUESTION, answer, configure, make_program
from tests.golden.tidy import leave_out_places, tidy


def formats() -> dict[str, dict[str, bool]]:
    """The formats that these releases can write, and what asks for each."""
    by_dspy = "use_dspy_model_save" in inspect.signature(mlflow.dspy.save_model).parameters
    if by_dspy and Version(dspy.__version__) > Version("3.1.0"):
        return {"pickle": {}, "dspy": {"use_dspy_model_save": True}}
    return {"pickle": {}}


def make(parent: Path, api_base: str) -> None:
    """Save one program in each format."""
    leave_out_places()
    mlflow.dspy.autolog()
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    configure(api_base)
    program = make_program()
    program(**QUESTION)
    requirements = [f"dspy=={dspy.__version__}", f"mlflow=={mlflow.__version__}"]
    for name, options in formats().items():
        folder = parent / f"{dspy.__version__}-{name}"
        mlflow.dspy.save_model(program, str(folder), input_example=QUESTION, pip_requirements=requirements, **options)
        tidy(folder)
        print(folder.name)


def main() -> None:
    """Make the models in the folder that the command names."""
    assert mlflow.dspy.save_model.__module__ == "mlflow.dspy.save", "This is not MLflow's own flavor."
    with tempfile.TemporaryDirectory() as scratch, OpenAIServer({MODEL: answer}) as server:
        mlflow.set_tracking_uri(f"sqlite:///{scratch}/mlflow.db")
        make(Path(sys.argv[1]).absolute(), server.base_url)


if __name__ == "__main__":
    main()
