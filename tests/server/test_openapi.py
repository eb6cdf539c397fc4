"""The page of the API says what is so."""

import json
import re

from mlflow_dspy_plugin.seams.invocations import FORMATS
from mlflow_dspy_plugin.server.app import ENDPOINTS


def test_the_page_has_each_endpoint(server):
    document = server.client.get("/openapi.json").json()
    operations = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert operations == {(each.method, each.path) for each in ENDPOINTS}
    assert "swagger" in server.client.get("/docs").text
    assert len({operation["operationId"] for each in document["paths"].values() for operation in each.values()}) == len(operations)  # fmt: skip


def test_all_that_the_page_refers_to_is_in_it(server):
    document = server.client.get("/openapi.json").json()
    for name in set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))):
        assert name in document["components"]["schemas"]


def test_each_status_that_a_model_s_endpoint_may_answer_by_is_on_the_page(server):
    document = server.client.get("/openapi.json").json()
    for path in ("/invocations", "/models/{name}/invocations", "/v1/chat/completions", "/v1/responses"):
        statuses = set(document["paths"][path]["post"]["responses"])
        assert statuses == set("200 400 401 404 408 413 415 429 500 501 502 503 504".split())


def test_the_bodies_on_the_page_are_those_that_are_taken(server):
    document = server.client.get("/openapi.json").json()

    def properties(path: str) -> set[str]:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        return set(content["application/json"]["schema"]["properties"])

    assert {"messages", "model", "stream", "stream_options", "temperature", "tools"} <= properties("/v1/chat/completions")  # fmt: skip
    assert {"input", "model", "stream", "instructions"} <= properties("/v1/responses")
    assert {"inputs", "instances", "dataframe_split", "dataframe_records", "params", "stream"} <= properties("/invocations")  # fmt: skip
    assert set(document["paths"]["/invocations"]["post"]["requestBody"]["content"]) == set(FORMATS)
