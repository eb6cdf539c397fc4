"""Copies of programs: methods and tools of a module in the program are those of its copy, wherever they stand."""

import gc
import weakref

import dspy

from mlflow_dspy_plugin.programs.copies import Copies
from mlflow_dspy_plugin.programs.language_models import containers_of_modules


class Helper(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.own = dspy.Tool(self.look)

    def look(self, question: str) -> str:
        """Look."""
        return self.ask.signature.instructions


class Before(dspy.Module):
    """Has methods of a module before the module itself."""

    def __init__(self):
        super().__init__()
        helper = Helper()
        self.look, self.tools = helper.look, [helper.look]
        self.react = dspy.ReAct("question -> answer", tools=[helper.look])
        self.own = helper.own
        self.helper = helper


def copied(program):
    return Copies(containers_of_modules(program)).of(program)


def test_methods_that_stand_before_their_module_are_those_of_its_copy():
    program = Before()
    copy = copied(program)
    copy.helper.ask.signature = copy.helper.ask.signature.with_instructions("New.")
    looks = [copy.look, copy.tools[0], copy.react.tools["look"], copy.own, copy.helper.own]
    assert [look(question="Who?") for look in looks] == ["New."] * 5
    assert copy.own is copy.helper.own is not program.own
    assert program.look("Who?") == program.helper.ask.signature.instructions != "New."


def test_a_method_of_a_module_outside_of_the_program_is_shared():
    outside, program = Helper(), dspy.Module()
    program.tools = [outside.look]
    assert copied(program).tools[0].__self__ is outside


def test_what_is_to_be_copied_keeps_no_program():
    program = Before()
    found, gone = containers_of_modules(program), weakref.ref(program)
    del program
    gc.collect()
    assert found and gone() is None
