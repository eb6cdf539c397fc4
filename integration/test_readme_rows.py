"""The README is true of many rows: its examples for Spark, Ray and Dask run on each of them, on this machine."""

import functools
import os
import shutil
import sys
from types import ModuleType

import dspy
import mlflow
import pandas as pd
import pytest

from integration.conftest import CANARY_KEY
from integration.processes import PYTHON
from tests.contract.test_readme import README, blocks
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

SPARK, RAY, DASK = blocks("py")
ROWS = pd.DataFrame({"question": [f"What is {number}?" for number in range(8)]})


def told(messages, body):
    """A language model that answers each question with its number."""
    number = messages[-1]["content"].split("What is ")[-1].split("?")[0]
    return chat_text({"reasoning": "It is clear.", "answer": f"It is {number}."})


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    """A model in a store of its own."""
    with pytest.MonkeyPatch.context() as patch, OpenAIServer({"told": told}) as lm:
        # Where the workers run, too.
        patch.setenv("OPENAI_API_KEY", CANARY_KEY)
        patch.setenv("PYSPARK_PYTHON", str(PYTHON))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('rows')}/mlflow.db")
        mlflow.set_tracking_uri(None)
        experiment = mlflow.create_experiment("rows", tmp_path_factory.mktemp("artifacts").as_uri())
        mlflow.set_experiment(experiment_id=experiment)
        with dspy.context(lm=dspy.LM("openai/told", api_base=lm.base_url, cache=False)):
            yield mlflow.dspy.log_model(dspy.ChainOfThought("question -> answer"), name="qa")


def answers_of(block: str, info, namespace: dict | None = None, **given: object) -> object:
    """What a block of the README calls `answers`."""
    namespace = {} if namespace is None else namespace
    namespace.update(mlflow=mlflow, functools=functools, info=info, uri=info.model_uri, **given)
    exec(compile(block, str(README), "exec"), namespace)
    return namespace["answers"]


def check(table: pd.DataFrame) -> None:
    """Each question has its own answer."""
    assert dict(zip(table["question"], table["answer"], strict=True)) == {
        question: f"It is {number}." for number, question in enumerate(ROWS["question"])
    }


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java: apt-get install openjdk-17-jre-headless")
def test_its_example_for_spark_answers_each_row(info):
    sql = pytest.importorskip("pyspark.sql", reason="needs Spark: pip install pyspark")
    local = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    with local.config("spark.driver.host", "127.0.0.1").getOrCreate() as spark:
        questions = spark.createDataFrame([(question,) for question in ROWS["question"]], "question string")
        rows = answers_of(SPARK, info, spark=spark, questions=questions).collect()
    check(pd.DataFrame([{"question": row.question, "answer": row.answer.answer} for row in rows]))


def test_its_example_for_ray_answers_each_row(info):
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'ray[data]'")
    pytest.importorskip("ray.data", reason="needs Ray: pip install 'ray[data]'")
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": dict(os.environ)})
    try:
        check(answers_of(RAY, info, questions=ray.data.from_pandas(ROWS)).to_pandas())
    finally:
        ray.shutdown()


def test_its_example_for_dask_answers_each_row(info, monkeypatch):
    dask = pytest.importorskip("dask.dataframe", reason="needs Dask: pip install 'dask[dataframe]'")
    # Dask wants functions that pickle can name, as those of a script are.
    script = ModuleType("script")
    monkeypatch.setitem(sys.modules, "script", script)
    check(answers_of(DASK, info, vars(script), questions=dask.from_pandas(ROWS, npartitions=2)).compute())
