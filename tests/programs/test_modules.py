"""Which modules a program is made of."""

import dspy

from mlflow_dspy_plugin.programs.graph import mermaid_of
from mlflow_dspy_plugin.programs.modules import modules_of

QA = "question -> answer"


class Holds(dspy.Module):
    def __init__(self, **held):
        super().__init__()
        vars(self).update(held)


class LookedAt:
    """Remembers that somebody has asked what it is."""

    was_asked = False

    @property
    def __class__(self):
        LookedAt.was_asked = True
        return LookedAt


def test_modules_are_found_in_attributes_lists_tuples_and_dicts_and_each_once():
    one, two, three = (dspy.Predict(QA) for _ in range(3))
    inner = Holds(two=two)
    program = Holds(first=one, again=one, listed=[inner, (three,)], by_name={"x": {"y": inner}})
    assert modules_of(program) == [program, one, inner, two, three]


def test_what_refers_to_itself_is_found_once():
    program = Holds(listed=[])
    program.listed.append(program)
    program.me = program
    assert modules_of(program) == [program]


def test_past_calls_and_data_are_not_looked_at():
    program = Holds(predict=dspy.Predict(QA), data=[LookedAt()] * 2_000)
    program.history = [LookedAt()]
    program.predict.history = [{"prompt": LookedAt()}]
    assert modules_of(program) == [program, program.predict]
    assert "predict: Predict" in mermaid_of(program)
    assert not LookedAt.was_asked
