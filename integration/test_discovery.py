"""`mlflow.dspy` in fresh interpreters: what is imported, what is found, what happens when it fails."""

import json
import os
import subprocess
import sys

import pytest

import mlflow_dspy_plugin


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The interpreters start where nothing of this package lies beside them."""
    monkeypatch.chdir(tmp_path)


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter, with every warning an error of ours shown."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def report_of(code: str, **environment: str) -> dict:
    """What a fresh interpreter put into `report`."""
    done = python(f"report = {{}}\n{code}\nimport json; print(json.dumps(report))", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_mlflow_is_silent_and_imports_neither_dspy_nor_the_flavor():
    """A run that is started before dspy is imported has no tags of it either."""
    done = python(
        "import mlflow, sys, json\n"
        "ours = [m for m in sys.modules if m.split('.')[0] in ('dspy', 'mlflow_dspy_plugin')]\n"
        "from mlflow.tracking.context.registry import resolve_tags\n"
        "print(json.dumps([ours, [tag for tag in resolve_tags() if 'dspy' in tag]]))"
    )
    assert done.stderr == ""
    modules, tags = json.loads(done.stdout)
    assert set(modules) == {
        "mlflow_dspy_plugin",
        "mlflow_dspy_plugin.discovery",
        "mlflow_dspy_plugin.entry_points",
        "mlflow_dspy_plugin.entry_points.dataset",
        "mlflow_dspy_plugin.entry_points.run_context",
        "mlflow_dspy_plugin.genai",
        "mlflow_dspy_plugin.genai.dataset_source",
        "mlflow_dspy_plugin.names",
    }
    assert tags == []


FIRST_IMPORTS = [
    "import mlflow.dspy.wrapper, mlflow.dspy.autolog",
    "from mlflow.dspy.save import log_model; import mlflow.dspy.load, mlflow.dspy.callback",
    "import mlflow_dspy_plugin.packaging.save, mlflow_dspy_plugin.serving.pyfunc",
    "from mlflow import dspy as kept; kept.load_model; import mlflow.dspy.autolog",
]
# Each case in a fork of one interpreter that has imported mlflow and dspy, but nothing of theirs.
IN_A_FORK = """
import mlflow, dspy, os, sys
for case in {cases!r}:
    if os.fork() == 0:
        exec(case)
        kept = globals().get("kept", mlflow.dspy)
        for name in mlflow.dspy.__all__:
            print(getattr(mlflow.dspy, name).__module__, getattr(kept, name).__module__)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, case
"""


def test_the_public_names_are_ours_whatever_was_imported_before():
    done = python(IN_A_FORK.format(cases=FIRST_IMPORTS))
    assert done.returncode == 0, done.stderr
    homes = done.stdout.split()
    assert len(homes) == 2 * len(FIRST_IMPORTS) * len(mlflow_dspy_plugin.__all__)
    # `context` is MLflow's own where the release has it.
    assert all(home.startswith("mlflow_dspy_plugin.") or home == "mlflow.tracing.context" for home in homes)


def test_the_switch_hands_mlflow_dspy_back_to_mlflow():
    report = report_of(
        "import mlflow, mlflow_dspy_plugin, sys\n"
        "report['core'] = mlflow.dspy.autolog.__module__\n"
        "report['ours'] = mlflow_dspy_plugin.autolog.__module__\n"
        "report['finders'] = [type(f).__module__ for f in sys.meta_path]",
        MLFLOW_DSPY_PLUGIN="false",
    )
    assert report["core"] == "mlflow.dspy.autolog"
    assert report["ours"] == "mlflow_dspy_plugin.switch"
    assert "mlflow_dspy_plugin.discovery" not in report["finders"]


def test_without_dspy_the_first_use_gives_the_install_line():
    report = report_of(
        "import sys; sys.modules['dspy'] = None\n"
        "import mlflow\nfrom mlflow.exceptions import MlflowException\n"
        "for name in mlflow.dspy.__all__:\n"
        "    try: getattr(mlflow.dspy, name)\n"
        "    except ImportError as e: report[name] = [isinstance(e, MlflowException), str(e), e.name]\n"
    )
    # Runs are compared, and some names looked at, without dspy.
    assert len(report) == 17
    for is_mlflow_error, message, missing in report.values():
        assert is_mlflow_error and missing == "dspy"
        assert "pip install 'dspy>=3.0.3'" in message


@pytest.mark.parametrize(("module", "error", "warnings"), [("discovery", "ValueError", 1), ("names", "SyntaxError", 3)])
def test_whatever_fails_in_the_plugin_mlflow_imports_with_a_warning(module, error, warnings, tmp_path):
    """A finder put first makes a module of the plugin fail as a broken installation would.

    MLflow itself warns of each entry point for datasets.
    """
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'mlflow_dspy_plugin.{module}': raise {error}('no disk left')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    done = python("import mlflow; print(mlflow.dspy.autolog.__module__)", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mlflow.dspy.autolog"]
    assert done.stderr.count("Warning") == warnings
    assert "mlflow-dspy-plugin" in done.stderr and f"{error}: no disk left" in done.stderr
