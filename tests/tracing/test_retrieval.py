"""Retrievers as documents with id, text and score, and embedders as what they made of how many texts."""

import asyncio

import dspy
import numpy as np
import pytest

from mlflow_dspy_plugin.tracing.documents import outputs_of
from tests.tracing.trees import outline, spans_named, under

CORPUS = ["bears", "bees", "beetles"]


def embed(texts):
    return np.array([[len(text), 1.0] for text in texts])


@pytest.fixture
def retriever():
    return dspy.retrievers.Embeddings(CORPUS, dspy.Embedder(embed), k=2)


def test_a_retriever_that_is_no_module_gives_documents(retriever, traces):
    assert retriever("be").indices
    [found] = [found for found in traces() if spans_named(found, "Embeddings.__call__")]
    [span] = spans_named(found, "Embeddings.__call__")
    assert (span.span_type, span.inputs, span.attributes["k"]) == ("RETRIEVER", {"query": "be"}, 2)
    assert len(span.outputs) == 2
    for document in span.outputs:
        assert CORPUS[int(document["id"])] == document["page_content"]


class Search(dspy.Retrieve):
    def forward(self, query, k=None):
        return dspy.Prediction(passages=["bears"], pids=[7], scores=[0.5])


def test_a_retriever_that_is_a_module_gives_documents(trace):
    Search()(query="be")
    document = {"page_content": "bears", "metadata": {"score": 0.5}, "id": "7"}
    assert outline(trace()) == f"Search.forward RETRIEVER OK {{'query': 'be'}} -> {[document]}\n"


@pytest.mark.parametrize(
    ("returned", "documents"),
    [
        (["bears"], [{"page_content": "bears", "metadata": {}, "id": None}]),
        (
            [{"long_text": "bears", "pid": 7, "score": 0.5, "rank": 1}],
            [{"page_content": "bears", "metadata": {"score": 0.5, "rank": 1}, "id": "7"}],
        ),
        (
            [{"page_content": "bears", "id": "x", "metadata": {"page": 3}}],
            [{"page_content": "bears", "metadata": {"page": 3}, "id": "x"}],
        ),
        (
            dspy.Prediction(passages=["a", "b"], indices=[4, 5]),
            [
                {"page_content": "a", "metadata": {}, "id": "4"},
                {"page_content": "b", "metadata": {}, "id": "5"},
            ],
        ),
        ([], []),
        ([1, 2], [1, 2]),
        ("bears", "bears"),
    ],
    ids=["texts", "ColBERT", "MLflow's own", "side by side", "nothing", "numbers", "a text"],
)
def test_what_retrievers_return_becomes_documents_where_it_holds_any(returned, documents):
    assert outputs_of(returned) == {"mlflow.spanOutputs": documents}


def test_a_retriever_inside_a_program_is_below_it_and_its_embedder_below_it(retriever, traces):
    class RAG(dspy.Module):
        def forward(self, question):
            return dspy.Prediction(passages=retriever(question).passages)

    RAG()(question="be")
    [found] = [found for found in traces() if spans_named(found, "RAG.forward")]
    assert outline(found, content=False) == under(
        "RAG.forward CHAIN OK", under("Embeddings.__call__ RETRIEVER OK", "Embedder.__call__ EMBEDDING OK")
    )


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_embedder_tells_how_many_vectors_of_what_length(is_async, trace):
    embedder = dspy.Embedder(embed, batch_size=2, caching=False)
    vectors = asyncio.run(embedder.acall(CORPUS)) if is_async else embedder(CORPUS)
    assert vectors.shape == (3, 2)
    [span] = trace().data.spans
    assert (span.span_type, span.inputs["inputs"]) == ("EMBEDDING", CORPUS)
    assert span.outputs == {"count": 3, "dimensions": 2}
    assert (span.attributes["model"], span.attributes["batch_size"]) == ("embed", 2)


def test_an_embedder_that_fails_raises_what_it_would_and_is_an_error(trace):
    def broken(texts):
        raise LookupError("no model")

    with pytest.raises(LookupError, match="no model"):
        dspy.Embedder(broken, caching=False)(["a"])
    assert outline(trace(), content=False) == "Embedder.__call__ EMBEDDING ERROR !LookupError\n"


def test_arguments_that_do_not_fit_raise_what_they_would(trace):
    with pytest.raises(TypeError, match="unexpected|missing"):
        dspy.Embedder(embed)()
    assert trace().info.state == "ERROR"
