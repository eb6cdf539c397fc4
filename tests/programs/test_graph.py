"""A program drawn as a Mermaid graph."""

import dspy

from mlflow_dspy_plugin.programs.graph import mermaid_of


class Branches(dspy.Module):
    def __init__(self):
        super().__init__()
        self.shared = dspy.Predict("a -> b")
        self.steps = [self.shared, dspy.Predict("b -> c")]
        self.by_name = {'say "x"': dspy.Predict("c -> d")}


def test_parts_stand_below_what_holds_them_once_each():
    assert mermaid_of(Branches()).splitlines() == [
        "graph TD",
        '  n0["Branches"]',
        '  n1["shared: Predict<br/>a -#gt; b"]',
        "  n0 --> n1",
        "  n0 --> n1",
        '  n2["steps[1]: Predict<br/>b -#gt; c"]',
        "  n0 --> n2",
        "  n3[\"by_name['say #quot;x#quot;']: Predict<br/>c -#gt; d\"]",
        "  n0 --> n3",
    ]


def test_an_agent_has_its_tools_and_not_the_one_that_ends_it():
    def search(query: str) -> str:
        return query

    drawn = mermaid_of(dspy.ReAct("question -> answer", tools=[search]))
    assert '(["search"])' in drawn
    assert "finish" not in drawn


def test_a_program_that_holds_itself_is_drawn():
    program = Branches()
    program.me = program
    assert mermaid_of(program).splitlines()[-1] == "  n0 --> n0"


def test_a_program_of_thousands_of_parts_is_cut():
    program = dspy.Module()
    program.parts = [dspy.Predict("a -> b") for _ in range(1_000)]
    assert mermaid_of(program).count("Predict") == 199
