"""The prompts of a program belong together: those of two registrations are never mixed."""

import sqlite3
from contextlib import closing

import dspy
import mlflow
import pytest
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.errors import PromptError
from tests.tracing.logs import warnings_logged


class Two(dspy.Module):
    """Two predictors, whose instructions are of one text."""

    def __init__(self, text="As written."):
        super().__init__()
        self.x, self.y = (dspy.Predict(dspy.Signature("question -> answer", f"{text} {name}")) for name in "xy")

    def says(self):
        return self.x.signature.instructions, self.y.signature.instructions


def registered(text, alias=None):
    mlflow.dspy.register_prompts(Two(text), "two", alias=alias)


def loaded(place):
    return mlflow.dspy.load_prompts(Two(), f"prompts:/two{place}").says()


def refuses(place, mixed):
    program = Two()
    with pytest.raises(PromptError, match=f"would mix prompts that were not registered together: {mixed}"):
        mlflow.dspy.load_prompts(program, f"prompts:/two{place}")
    return program.says() == Two().says()


def fail_to_set_aliases(store, of, version):
    """Have the store refuse an alias, as one that goes away does."""
    with closing(sqlite3.connect(store)) as connection:
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER refuse_{event} BEFORE {event} ON registered_model_aliases "
                f"WHEN NEW.name = '{of}' AND NEW.version = {version} BEGIN SELECT RAISE(ABORT, 'went away'); END"
            )
        connection.commit()


def test_a_number_that_means_another_registration_for_one_of_them_is_refused():
    registered("One.")
    mlflow.genai.register_prompt("two.x", "By hand.")
    registered("Two.")
    assert loaded("/1") == ("One. x", "One. y")
    assert refuses("/2", "two.x/2, two.y/2")
    assert loaded("@latest") == ("Two. x", "Two. y")


def test_an_alias_that_means_another_registration_for_one_of_them_is_refused():
    registered("One.", alias="production")
    registered("Two.")
    mlflow.genai.set_prompt_alias("two.x", "production", 2)
    assert refuses("@production", "two.x/2, two.y/1")
    mlflow.genai.set_prompt_alias("two.y", "production", 2)
    assert loaded("@production") == ("Two. x", "Two. y")


@pytest.mark.parametrize("place", ["@production", "@latest"])
def test_a_version_by_hand_goes_with_those_that_were_registered(place):
    registered("One.", alias="production")
    version = mlflow.genai.register_prompt("two.x", "By hand.").version
    mlflow.genai.set_prompt_alias("two.x", "production", version)
    assert loaded(place) == ("By hand.", "One. y")


def test_versions_by_hand_are_found_by_their_number():
    for name in "xy":
        mlflow.genai.register_prompt(f"two.{name}", f"By hand. {name}")
    assert loaded("/1") == ("By hand. x", "By hand. y")


def test_an_alias_that_cannot_be_set_for_all_means_what_it_meant(store):
    registered("One.", alias="production")
    fail_to_set_aliases(store, of="two.y", version=2)
    with pytest.raises(MlflowException, match="went away"):
        registered("Two.", alias="production")
    assert loaded("@production") == ("One. x", "One. y")
    assert loaded("/2") == ("Two. x", "Two. y")


def test_a_new_alias_that_cannot_be_set_for_all_is_taken_back(store):
    fail_to_set_aliases(store, of="two.y", version=1)
    with pytest.raises(MlflowException, match="went away"):
        registered("One.", alias="production")
    with pytest.raises(PromptError, match="no prompt 'two.x' with the alias 'production'"):
        loaded("@production")


def test_an_alias_that_cannot_be_put_back_is_told(store):
    registered("One.", alias="production")
    fail_to_set_aliases(store, of="two.y", version=2)
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(
            "CREATE TRIGGER no_way_back BEFORE UPDATE ON registered_model_aliases "
            "WHEN NEW.name = 'two.x' AND NEW.version = 1 BEGIN SELECT RAISE(ABORT, 'went away'); END"
        )
        connection.commit()
    with warnings_logged() as messages, pytest.raises(MlflowException, match="went away"):
        registered("Two.", alias="production")
    assert any("The alias 'production' of the prompt 'two.x' may mean a new version now" in each for each in messages)
    assert refuses("@production", "two.x/2, two.y/1")
