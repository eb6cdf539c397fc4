"""The benchmarks run, and measure what they say; how fast anything is, is not tested."""

import json

from integration.conftest import ROOT
from integration.processes import PYTHON, run


def test_the_packaging_benchmark_measures_both_flavors(tmp_path, environment):
    figures_file = tmp_path / "figures.json"
    command = [PYTHON, "-m", "benchmarks.packaging", "--repeat", "1", "--json", figures_file]
    finished = run(command, tmp_path / "run", seconds=400, environment=environment, cwd=ROOT)
    written = json.loads(figures_file.read_text())
    figures = written["figures"]
    assert {"date", "python", "mlflow", "dspy", "mlflow-dspy-plugin"} <= set(written)
    assert len(figures) == 9
    for row, by_flavor in figures.items():
        assert row in finished.stdout
        assert set(by_flavor) == {"plugin", "mlflow"}
        assert all(by_flavor.values()), row
    calls = figures.pop("log_model: LM calls")
    assert calls["plugin"] == [0] and min(calls["mlflow"]) > 0
    assert all(value > 0 for by_flavor in figures.values() for values in by_flavor.values() for value in values)
