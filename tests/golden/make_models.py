"""Makes the golden models of this package, in the format that the checkout writes and of the kinds that are named.

It was run in an environment of the lowest versions, whose models every later one has to read, from the root of the
checkout::

    python -m tests.golden.make_models json source cloudpickle dspy code

A format that was released keeps its folder for ever: make a new one, never the old one again.
"""

import os

# Read when these packages are imported, and by the language model.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["NO_PROXY"] = "127.0.0.1"
os.environ["OPENAI_API_KEY"] = "key-of-the-golden-models"

import sys
from pathlib import Path

import dspy
import mlflow.dspy

from mlflow_dspy_plugin.packaging.format import FORMAT
from tests.fakes.openai_server import OpenAIServer
from tests.golden.program import MODEL, QUESTION, answer, configure, make_program
from tests.golden.tidy import leave_out_places, tidy

# What asks for each kind of folder.
KINDS = {
    "json": {"serialization_format": "json"},
    "source": {"serialization_format": "json"},
    "cloudpickle": {"serialization_format": "cloudpickle"},
    "dspy": {"use_dspy_model_save": True},
    "code": {},
}
SCRIPT = Path(__file__).with_name("script.py")


class Sailing(dspy.ChainOfThought):
    """A class of `__main__`, whose source travels with the model."""

    def forward(self, **inputs):
        return super().forward(**inputs)


def main() -> None:
    """Make a model of each kind that the command names."""
    leave_out_places()
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    with OpenAIServer({MODEL: answer}) as server:
        configure(server.base_url)
        program = make_program()
        program(**QUESTION)
        for kind in sys.argv[1:]:
            folder = Path(__file__).parent / f"format-{FORMAT}" / kind
            program = make_program(Sailing if kind == "source" else dspy.ChainOfThought)
            model = {"model": SCRIPT, "compiled_state": program} if kind == "code" else {"model": program}
            mlflow.dspy.save_model(**model, path=folder, input_example=QUESTION, infer_code_paths=False, **KINDS[kind])
            tidy(folder)
            print(folder.relative_to(Path(__file__).parent))


if __name__ == "__main__":
    main()
