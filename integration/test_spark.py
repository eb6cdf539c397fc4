"""A program as a function of Spark: rows in parallel by partitions, and side by side within each.

On one machine where pyspark and Java are installed. Against a standalone master with two workers too, by
`SPARK_CLUSTER=1 python -m pytest integration/test_spark.py`.
"""

import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pandas as pd
import pytest

from integration.processes import PYTHON, free_port, running
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.script import chat_text

pyspark = pytest.importorskip("pyspark", reason="needs Spark: pip install pyspark")
errors, sql = pytest.importorskip("pyspark.errors"), pytest.importorskip("pyspark.sql")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java: apt-get install openjdk-17-jre-headless", allow_module_level=True)

CORES = 2
THREADS = {"MLFLOW_DSPY_PREDICT_THREADS": "3"}


def counting(messages: list[dict[str, Any]], body: dict[str, Any]) -> str | Fault:
    """Says of a number what it is; of 13 nothing."""
    number = int(messages[-1]["content"].split("[[ ## number ## ]]\n")[1].split()[0])
    if number == 13:
        return Fault(400, "That number is unlucky.")
    warmth = body.get("temperature")
    return chat_text({"name": f"n{number} {warmth}", "double": 2 * number, "half": number / 2, "parts": '["a", "b"]'})


@pytest.fixture(scope="module")
def lm() -> Iterator[OpenAIServer]:
    """The language model."""
    with OpenAIServer({"counting": counting}) as server:
        yield server


@pytest.fixture(scope="module")
def saved(lm, tmp_path_factory) -> Callable[[str], str]:
    """Saves the model of a signature, once, and returns its folder."""
    folder, done = tmp_path_factory.mktemp("models"), {}

    def save(signature: str) -> str:
        if signature not in done:
            done[signature] = str(folder / str(len(done)))
            with dspy.context(lm=dspy.LM("openai/counting", api_base=lm.base_url, cache=False, num_retries=0)):
                mlflow.dspy.save_model(dspy.Predict(signature), done[signature], input_example={"number": 1})
        return done[signature]

    return save


@pytest.fixture(scope="module", params=["local", "cluster"])
def spark(request, tmp_path_factory, environment) -> Iterator[sql.SparkSession]:
    """A session, on this machine alone or on a standalone master."""
    if request.param == "cluster" and "SPARK_CLUSTER" not in os.environ:
        pytest.skip("starts a master and two workers; set SPARK_CLUSTER=1")
    with ExitStack() as stack:
        master = f"local[{CORES}]"
        if request.param == "cluster":
            master = stack.enter_context(standalone(tmp_path_factory.mktemp("spark"), environment))
        builder = sql.SparkSession.builder.master(master).appName("test")
        options = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executorEnv.OPENAI_API_KEY": environment["OPENAI_API_KEY"],
            "spark.sql.shuffle.partitions": "2",
        }
        for name, value in options.items():
            builder = builder.config(name, value)
        variables = stack.enter_context(pytest.MonkeyPatch.context())
        variables.setenv("OPENAI_API_KEY", environment["OPENAI_API_KEY"])
        variables.setenv("PYSPARK_PYTHON", str(PYTHON))
        session = stack.enter_context(builder.getOrCreate())
        session.sparkContext.setLogLevel("ERROR")
        yield session


@contextmanager
def standalone(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A master with two workers of a core each."""
    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    deploy, port, page = "org.apache.spark.deploy", free_port(), free_port()
    own = {**environment, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": str(folder / "work")}
    where = ("--host", "127.0.0.1")
    master = [spark_class, f"{deploy}.master.Master", *where, "--port", port, "--webui-port", page]
    worker = [spark_class, f"{deploy}.worker.Worker", *where, "--webui-port", 0, "--cores", 1, "--memory", "1g"]

    def workers() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/") as response:
                return json.load(response)["aliveworkers"]
        except OSError:
            return -1

    with ExitStack() as stack:
        process = stack.enter_context(running(master, folder / "master", environment=own))
        process.wait_until(lambda: workers() == 0, "answered", 60)
        for number in range(2):
            command = [*worker, f"spark://127.0.0.1:{port}"]
            stack.enter_context(running(command, folder / f"worker{number}", environment=own))
        process.wait_until(lambda: workers() == 2, "two workers", 60)
        yield f"spark://127.0.0.1:{port}"


@pytest.fixture
def answers(spark, saved) -> Callable[..., list[Any]]:
    """Answers numbers in so many partitions by a model of a signature; gives a row of each."""

    def answer(numbers, signature: str, partitions: int = CORES, **options: Any) -> list[Any]:
        numbers = list(numbers)
        rows = spark.sparkContext.parallelize([(number,) for number in numbers], partitions).toDF("number long")
        predict = mlflow.pyfunc.spark_udf(spark, saved(signature), env_manager="local", **options)
        found = rows.select("number", predict("number").alias("answer")).collect()
        assert [row.number for row in found] == numbers
        return [row.answer for row in found]

    return answer


ALL = "number: int -> name: str, double: int, half: float, parts: list[str]"


def whole(number: int, temperature: float | None = None) -> dict[str, Any]:
    """What the program says of a number."""
    return {"name": f"n{number} {temperature}", "double": 2 * number, "half": number / 2, "parts": ["a", "b"]}


def test_each_row_becomes_a_struct_of_the_model_s_output_schema(answers):
    assert [row.asDict() for row in answers(range(20, 30), ALL)] == [whole(number) for number in range(20, 30)]


@pytest.mark.parametrize("partitions", [10, 4], ids=["one-row", "some-empty"])
def test_partitions_of_one_row_and_of_none_are_like_others(answers, partitions):
    numbers = range(20, 30) if partitions == 10 else [7]
    got = answers(numbers, ALL, partitions=partitions)
    assert [row.asDict() for row in got] == [whole(number) for number in numbers]


@pytest.mark.parametrize("partitions", [1, 3], ids=["together", "one-row"])
@pytest.mark.parametrize(
    ("output", "result_type", "expected"),
    [
        ("name: str", "string", ["n20 None", "n21 None", "n22 None"]),
        ("double: int", "long", [40, 42, 44]),
        ("half: float", "double", [10.0, 10.5, 11.0]),
        ("name: str", "array<string>", [["n20 None"], ["n21 None"], ["n22 None"]]),
    ],
)
def test_a_single_column_has_the_type_that_is_asked_for(answers, output, result_type, expected, partitions):
    got = answers([20, 21, 22], f"number: int -> {output}", partitions, result_type=result_type)
    assert got == expected


def test_params_hold_for_all_rows(answers):
    got = answers([20, 21], ALL, params={"temperature": 0.25})
    assert [row.asDict() for row in got] == [whole(20, 0.25), whole(21, 0.25)]


def test_a_row_that_fails_names_itself(answers):
    with pytest.raises(errors.PythonException, match=r"Row 1 of 3.*unlucky"):
        answers([12, 13, 14], ALL, partitions=1)


def test_a_row_that_fails_is_answered_by_its_error_where_that_is_asked_for(answers):
    # MLflow cannot leave out a whole number or an array, and writes a missing text as "None".
    kept = "name string, half double, error string"
    got = answers([12, 13, 14], ALL, 1, params={"on_error": "row"}, result_type=kept)
    assert [(row.name, row.half) for row in got] == [("n12 None", 6.0), ("None", None), ("n14 None", 7.0)]
    assert got[0].error == got[2].error == ""
    assert "unlucky" in got[1].error


def test_partitions_times_threads_is_how_many_calls_are_made_at_once(answers, lm):
    # The processes of Python live on: their start is not waited for when calls are counted.
    answers(range(20, 32), ALL, extra_env=THREADS)
    try:
        lm.latency, lm.most_at_once = 1.0, 0
        answers(range(20, 44), ALL, extra_env=THREADS)
        assert lm.most_at_once == CORES * 3
        lm.most_at_once = 0
        answers(range(20, 28), ALL, partitions=1, extra_env=THREADS)
        assert lm.most_at_once == 3
    finally:
        lm.latency = 0


def test_the_answers_are_those_of_the_model_called_directly(answers, saved):
    model = mlflow.pyfunc.load_model(saved(ALL))
    direct = model.predict(pd.DataFrame({"number": range(20, 30)}))
    assert [row.asDict() for row in answers(range(20, 30), ALL)] == direct.to_dict("records")
