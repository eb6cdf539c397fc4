"""The benchmarks run, and measure what they say; how fast anything is, is not tested.

Those that begin a server of each contender run with `WHOLE=1` in the environment.
"""

import json
import os

import pytest

from benchmarks.tracing.contenders import CONTENDERS
from integration.conftest import ROOT
from integration.processes import PYTHON, run

whole = pytest.mark.skipif(not os.environ.get("WHOLE"), reason="begins many servers; WHOLE=1 does")


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


def test_the_tracking_benchmark_measures_all_contenders(tmp_path, environment):
    figures_file = tmp_path / "figures.json"
    command = [PYTHON, "-m", "benchmarks.tracking", "--quick", "--store", "sqlite", "--json", figures_file]
    finished = run(command, tmp_path / "run", seconds=400, environment=environment, cwd=ROOT)
    written = json.loads(figures_file.read_text())
    assert {"date", "python", "mlflow", "dspy", "mlflow-dspy-plugin"} <= set(written)
    assert set(written["compiles"]) == {"patient", "instant"}
    for by_store in written["compiles"].values():
        measured = by_store["sqlite"]
        assert measured["what"] in finished.stdout
        for name in ("none", "plugin", "mlflow"):
            [figures] = measured["figures"][name]
            assert figures["wall"] > 0
            # One of the compile, and one of each evaluation.
            assert figures["runs"] == (0 if name == "none" else 1 + figures["candidates"])


@whole
def test_the_serving_benchmark_measures_all_contenders(tmp_path, environment):
    figures_file = tmp_path / "figures.json"
    command = [PYTHON, "-m", "benchmarks.serving", "--quick", "--json", figures_file]
    finished = run(command, tmp_path / "run", seconds=400, environment=environment, cwd=ROOT)
    figures = json.loads(figures_file.read_text())["figures"]
    [(clients, by_name)] = figures["requests"].items()
    assert set(by_name) == {"mlflow", "plugin", "bare"}
    for name, [measured] in by_name.items():
        assert name in finished.stdout
        assert measured["errors"] == {}
        assert measured["rate"] > 0 and measured["cpu"] > 0
        assert 0 < measured["lm"] <= int(clients)
    assert figures["batch"]["ratio"] > 0
    assert set(figures["stream"]) == {"mlflow", "plugin", "bare"}
    for name, measured in figures["stream"].items():
        # Two streams of two fields of ten words.
        assert len(measured["first"]) == 2 and len(measured["later"]) == 38, name
        assert min(measured["first"] + measured["later"]) > 0


@whole
def test_the_server_benchmark_measures_all_contenders(tmp_path, environment):
    figures_file = tmp_path / "figures.json"
    command = [PYTHON, "-m", "benchmarks.server", "--quick", "--json", figures_file]
    finished = run(command, tmp_path / "run", seconds=400, environment=environment, cwd=ROOT)
    figures = json.loads(figures_file.read_text())["figures"]
    for name, [measured] in figures["requests"]["4"].items():
        assert name in finished.stdout
        assert measured["errors"] == {} and measured["answers"] > 0
        assert measured["cpu"] > 0 and 0 < measured["lm"] <= 4
    traces = figures["requests"]["traces"]
    assert traces["stored after the next process"] == traces["answers"] > 0
    [(_, by_name)] = figures["stream"].items()
    assert set(by_name) == {"plugin", "traced", "bare"}
    for heard in by_name.values():
        assert heard["errors"] == {} and heard["whole"] == len(heard["first"]) > 0
        assert len(heard["later"]) == 19 * heard["whole"]
    for remembered in figures["memory"].values():
        assert remembered["requests"][-1] >= 100 and remembered["errors"] == {}
        assert min(remembered["memory"]) > 0


def test_the_datasets_benchmark_looks_at_the_memory_of_each_step(tmp_path, environment):
    figures_file = tmp_path / "figures.json"
    command = [PYTHON, "-m", "benchmarks.datasets", "--quick", "--json", figures_file]
    finished = run(command, tmp_path / "run", seconds=400, environment=environment, cwd=ROOT)
    written = json.loads(figures_file.read_text())
    assert (written["rows"], written["store"]) == (2_000, "server")
    assert set(written["figures"]) == {"made", "logged", "read back"}
    for name, measured in written["figures"].items():
        assert name in finished.stdout
        assert measured["seconds"] > 0 and measured["peak"] > 0
        assert len(measured["looks"]) == (0 if name == "logged" else 10)


@pytest.fixture(scope="module")
def tracing(tmp_path_factory, environment):
    """What the tracing benchmark prints and writes, in its short form, which takes ten minutes and more:

    TRACING_BENCHMARK=1 python -m pytest integration/test_benchmarks.py
    """
    if "TRACING_BENCHMARK" not in os.environ:
        pytest.skip("takes ten minutes and more; set TRACING_BENCHMARK=1")
    folder = tmp_path_factory.mktemp("tracing")
    command = [PYTHON, "-m", "benchmarks.tracing", "--quick", "--json", folder / "figures.json"]
    finished = run(command, folder / "run", seconds=900, environment=environment, cwd=ROOT)
    return finished.stdout, json.loads((folder / "figures.json").read_text())


def test_the_tracing_benchmark_says_what_was_measured_and_prints_each_table(tracing):
    printed, written = tracing
    assert {"date", "python", "mlflow", "dspy", "mlflow-dspy-plugin", "cores", "repeat", "rounds"} <= set(written)
    assert {what: set(by_store) for what, by_store in written["figures"].items()} == {
        "caller": {"server"},
        "contention": {"sqlite", "server"},
        "disabled": {"sqlite"},
        "export": {"sqlite", "server"},
        "burst": {"sqlite", "server"},
        "memory": {"discard"},
    }
    for by_store in written["figures"].values():
        for measured in by_store.values():
            head, *rows = measured["table"]
            assert all(len(row) == len(head) and row[0] in printed for row in rows)


@pytest.mark.parametrize("what", ["caller", "contention", "export"])
def test_contenders_that_trace_leave_whole_traces_of_eleven_spans(tracing, what):
    for store, measured in tracing[1]["figures"][what].items():
        by_name = measured["contenders"]
        assert {"none", "floor", "plugin", "mlflow"} <= set(by_name)
        assert ("openinference" in by_name) == (store == "server" and CONTENDERS["openinference"].installed)
        for name, turns in by_name.items():
            assert turns["lost"] == 0, (store, name)
            assert turns["spans"] == (0 if name in ("none", "callback") else 11), (store, name)
            assert len(turns["rounds"]) == 2 and len(turns["first"]) == 1
            assert all(turn["wall"] > 0 and turn["cpu"] > 0 and turn["process"] > 0 for turn in turns["rounds"])
        assert (by_name["plugin"]["rounds"][0]["server"] > 0) == (store == "server")


def test_the_ways_to_trace_nothing_leave_no_traces(tracing):
    by_name = tracing[1]["figures"]["disabled"]["sqlite"]["contenders"]
    assert set(by_name) == {"none", "installed", "autolog-off", "tracing-off", "mlflow-tracing-off"}
    assert all(turns["spans"] == 0 and len(turns["rounds"]) == 2 for turns in by_name.values())


def test_a_short_burst_arrives_once_by_every_way(tracing):
    for measured in tracing[1]["figures"]["burst"].values():
        assert len(measured["contenders"]) == 4
        for name, figures in measured["contenders"].items():
            assert figures["missing"] == figures["doubled"] == 0, name
            assert figures["stored after the next process"] == 40
            assert figures["peak: MB"] > 0


def test_memory_is_looked_at_while_the_traces_are_taken(tracing):
    by_name = tracing[1]["figures"]["memory"]["discard"]["contenders"]
    assert set(by_name) == {"none", "plugin", "mlflow"}
    for name, figures in by_name.items():
        assert figures["calls"] == [0, 50, 100, 150, 200]
        assert len(figures["rss"]) == 5 and min(figures["rss"]) > 0
        assert figures["stored"] == (0 if name == "none" else figures["made"])
