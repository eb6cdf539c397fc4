"""Loads the program at MODEL_URI in a process that has set nothing, and calls it once for each of INPUTS."""

import json
import os
from pathlib import Path

import dspy
import mlflow

program = mlflow.dspy.load_model(os.environ["MODEL_URI"])
outputs = [program(**fields).toDict() for fields in json.loads(os.environ["INPUTS"])]

lm = dspy.settings.lm
options = {name: lm.kwargs.get(name) for name in ("api_base", "max_tokens", "temperature")}
result = {"outputs": outputs, "lm": {"model": lm.model, **options}}
Path(os.environ["RESULT_FILE"]).write_text(json.dumps(result))
