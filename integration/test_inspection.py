"""Models are inspected in a fresh process, which has imported nothing of what they name."""

import json
import subprocess
from pathlib import Path

from integration.processes import PYTHON
from tests.packaging.hostile import check_what_was_told, folders, strangers  # noqa: F401

ROOT = Path(__file__).parents[1]
INSPECT = """
import json, sys
from pathlib import Path
import mlflow.dspy, dspy
from mlflow_dspy_plugin.packaging.inspection import inspect_model
before, told = set(sys.modules), {}
for folder in sys.argv[1:]:
    try:
        report = inspect_model(folder)
        told[Path(folder).name] = [report.kind, sorted(report.names)]
    except mlflow.MlflowException as error:
        told[Path(folder).name] = [type(error).__name__, []]
new = {name.split(".")[0] for name in set(sys.modules) - before}
print("TOLD" + json.dumps([told, sorted(new - set(sys.stdlib_module_names) - {"mlflow", "mlflow_dspy_plugin"})]))
"""


def test_looking_at_models_imports_nothing_of_theirs(strangers):
    command = [PYTHON, "-c", INSPECT, *map(str, strangers.values())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    told, imported = json.loads(done.stdout.partition("TOLD")[2])
    assert imported == []
    check_what_was_told(told)
