"""What an optimizer was made with is read from the optimizer, whatever it calls it."""

import functools

import dspy
import numpy as np
from dspy.teleprompt.bootstrap_trace import bootstrap_trace_data
from dspy.teleprompt.teleprompt import Teleprompter

from mlflow_dspy_plugin.seams.optimizers import made_with, wrapped


def right(example, prediction, trace=None):
    return True


def random_search():
    return dspy.BootstrapFewShotWithRandomSearch(metric=right, max_bootstrapped_demos=3, num_candidate_programs=7)


class Own(Teleprompter):
    """Keeps one argument under its name, one under another, and what is none."""

    def __init__(self, rounds, size, **more):
        super().__init__()
        self.rounds, self.kept_size, self.more = rounds, size, more
        self.seen, self.lock = [], object()


def test_an_argument_that_is_kept_under_another_name_has_that_of_the_constructor():
    found = made_with(random_search())
    assert (found["max_bootstrapped_demos"], found["num_candidate_programs"]) == (3, 7)
    assert not {"max_num_samples", "num_candidate_sets"} & found.keys()


def test_the_metric_of_gepa_is_its_metric():
    optimizer = dspy.GEPA(metric=lambda *args: 1.0, max_metric_calls=1, reflection_lm=dspy.LM("openai/m"))
    assert made_with(optimizer)["metric"] is optimizer.metric_fn


def test_arguments_by_keyword_and_plain_values_are_told_and_no_state():
    assert made_with(Own(2, 8, temperature=0.5)) == {"rounds": 2, "kept_size": 8, "temperature": 0.5}


def test_looking_leaves_the_optimizer_as_it_is():
    optimizer = random_search()
    before = dict(vars(optimizer))
    made_with(optimizer)
    assert vars(optimizer) == before


def test_the_examples_of_nearest_neighbours_are_found_in_them():
    examples = [dspy.Example(question="q", answer="a").with_inputs("question")]
    embedder = dspy.Embedder(lambda texts: np.ones((len(texts), 2)))
    found = made_with(dspy.KNNFewShot(k=1, trainset=examples, vectorizer=embedder, metric=right))
    assert (found["k"], found["trainset"], found["metric"]) == (1, examples, right)


def test_a_function_of_the_users_is_no_wrapper():
    metric = right

    def outer(*args):
        return metric(*args)

    assert wrapped(outer) is outer
    assert wrapped(functools.partial(right)).func is right
    assert wrapped(3) == 3


def test_the_metric_that_dspy_wraps_is_found():
    seen = []

    class Spy(dspy.utils.callback.BaseCallback):
        def on_evaluate_start(self, call_id, instance, inputs):
            seen.append(inputs.get("metric") or instance.metric)

    program, examples = dspy.Predict("question -> answer"), [dspy.Example(question="q").with_inputs("question")]
    program.forward = lambda **_: dspy.Prediction(answer="a")
    with dspy.context(callbacks=[Spy()]):
        bootstrap_trace_data(program, examples, metric=right, num_threads=1)
    assert [wrapped(metric) for metric in seen] == [right]
