"""A prediction knows the trace it was made in, and is what it is without."""

import asyncio
import copy
import gc
import pickle

import dspy
import mlflow

from mlflow_dspy_plugin.tracing import predictions
from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import spans_named

PREDICT = dspy.Predict("question -> answer")


def question_of(prediction):
    """What was asked in the trace that the prediction knows."""
    trace = mlflow.get_trace(mlflow.dspy.trace_id_of(prediction))
    return trace.data.spans[0].inputs["question"]


def test_a_prediction_knows_its_trace(traces):
    made = [PREDICT(question=str(i)) for i in range(3)]
    traces()
    assert list(map(question_of, made)) == ["0", "1", "2"]
    assert mlflow.dspy.trace_id_of(made[-1]) == mlflow.get_last_active_trace_id(thread_local=True)


def test_predictions_that_are_equal_know_their_own(traces):
    pairs = [(PREDICT, {"question": str(i)}) for i in range(4)]
    made = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
    assert made[0] == made[1]
    traces()
    assert list(map(question_of, made)) == ["0", "1", "2", "3"]


class Listing(dspy.Module):
    """Answers without a predictor, of which DSPy would keep the last predictions."""

    def forward(self):
        return dspy.Prediction(answers=[{}])


def test_a_prediction_that_cannot_be_hashed_knows_its_trace(trace):
    assert mlflow.dspy.trace_id_of(Listing()()) == trace().info.trace_id


def test_a_prediction_made_inside_a_user_s_trace_knows_that(trace):
    @mlflow.trace
    def around():
        return PREDICT(question="q")

    prediction = around()
    assert mlflow.dspy.trace_id_of(prediction) == trace().info.trace_id
    assert spans_named(trace(), "around")


def test_what_was_not_traced_knows_none(traces):
    with mlflow.dspy.context(enabled=False):
        silenced = PREDICT(question="q")
    mlflow.tracing.disable()
    switched_off = PREDICT(question="q")
    mlflow.tracing.enable()
    made = dspy.Prediction(answer="a")
    for each in (silenced, switched_off, made, "a", None):
        assert mlflow.dspy.trace_id_of(each) is None
    assert traces() == []


def test_a_prediction_is_what_it_is_without_tracing():
    looks = (vars, repr, dspy.Prediction.toDict, dspy.Prediction.keys, pickle.dumps)
    traced = Listing()()
    mlflow.dspy.autolog(disable=True)
    plain = Listing()()
    assert traced == plain
    assert [look(traced) for look in looks] == [look(plain) for look in looks]
    assert mlflow.dspy.trace_id_of(copy.copy(traced)) is None


def test_the_knowledge_ends_with_the_prediction():
    known = predictions._trace_ids._references
    before = set(known)
    kept = [Listing()() for _ in range(5)]
    assert set(known) - before == set(map(id, kept))
    kept.clear()
    gc.collect()
    assert set(known) <= before


def test_a_streamed_prediction_knows_its_trace(trace):
    async def main():
        program = dspy.streamify(PREDICT, stream_listeners=[dspy.streaming.StreamListener("answer")])
        return [chunk async for chunk in program(question="q")]

    with dspy.context(lm=scripted_lm({"answer": "one two three four five six seven"})):
        chunks = asyncio.run(main())
    assert mlflow.dspy.trace_id_of(chunks[-1]) == trace().info.trace_id
