"""A predictor <-> what its prompt says."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.prompts.values import is_made, is_same, made, value_of
from mlflow_dspy_plugin.prompts.wording import Demo, Said, read, write
from mlflow_dspy_plugin.seams import prompts as seam


@dataclass(frozen=True)
class Learnt:
    """What a prompt lays over a predictor.

    Attributes:
        signature: Its signature, a class that no other predictor has.
        demos: Its demos.
        decisions: How the answers of a decision are read (dspy >= 3.4).
    """

    signature: type[dspy.Signature]
    demos: list[Any]
    decisions: Any

    @classmethod
    def of(cls, predictor: dspy.Predict) -> "Learnt":
        """What a predictor has."""
        return cls(predictor.signature, predictor.demos, seam.decisions_of(predictor))

    def lay_over(self, predictor: dspy.Predict) -> None:
        """Give it to a predictor."""
        predictor.signature, predictor.demos = self.signature, self.demos
        seam.set_decisions(predictor, copy.deepcopy(self.decisions))


def text_of(predictor: dspy.Predict, where: str) -> str:
    """The text of a prompt that says what a predictor says, proved to come back the same.

    Args:
        predictor: The predictor.
        where: What it is called, for errors.

    Raises:
        PromptError: If it holds what no text can, with the place.
    """
    signature = predictor.signature
    fields = {name: _said_of_field(name, info, where) for name, info in signature.fields.items()}
    demos = tuple(_demo_of(demo, signature, f"demo {n} of {where}") for n, demo in enumerate(predictor.demos, 1))
    said = Said(signature.instructions, fields, demos, seam.decisions_of(predictor))
    text = write(said, signature.input_fields)
    if not _is_alike(Learnt.of(predictor), learnt_from(read(text, where), Learnt.of(predictor), where)):
        raise PromptError(f"{where} would not come back from the registry as it is. Nothing was registered.")
    return text


def learnt_from(said: Said, now: Learnt, where: str) -> Learnt:
    """What a prompt says, for a predictor.

    Args:
        said: What the prompt says.
        now: What the predictor has; a prompt that speaks of instructions alone leaves the rest as it is.
        where: What the prompt is called, for errors.

    Raises:
        PromptError: If its variables or fields are not those of the predictor, or a demo's value is none of its field.
    """
    _check_fit(said, now.signature, where)
    signature = now.signature
    for name, words in (said.fields or {}).items():
        wanted = {
            **seam.usual_words(name),
            **{word: words[word] for word in ("prefix", "description") if word in words},
        }
        if seam.words_of(signature.fields[name]) != wanted:
            signature = seam.with_words(signature, name, wanted)
    signature = seam.with_instructions(signature, said.instructions)
    if said.fields is None:
        return Learnt(signature, list(now.demos), now.decisions)
    demos = [_made_demo(demo, signature, f"demo {n} of {where}") for n, demo in enumerate(said.demos, 1)]
    return Learnt(signature, demos, said.decisions)


def _said_of_field(name: str, info: Any, where: str) -> dict[str, str]:
    words = seam.words_of(info)
    for word, text in words.items():
        if type(text) is not str:
            raise PromptError(
                f"The {word} of the field {name!r} of {where} is a {type(text).__name__}. Give it as a text."
            )
    unusual = {word: text for word, text in words.items() if text != seam.usual_words(name)[word]}
    return {"type": " ".join(inspect.formatannotation(info.annotation).split()), **unusual}


def _demo_of(demo: Any, signature: type[dspy.Signature], where: str) -> Demo:
    if type(demo) not in (dict, dspy.Example):
        raise PromptError(f"The {where} is a {type(demo).__name__}. Give demos as dspy.Example.")
    is_dict = type(demo) is dict
    values = {}
    for name, value in demo.items() if is_dict else demo.items(include_dspy=True):
        info = signature.fields.get(name)
        values[name] = value_of(value, info.annotation if info is not None else None)
        if values[name] is None or type(name) is not str:
            raise PromptError(
                f"The field {name!r} in {where} holds a {type(value).__name__}, which the text of a prompt "
                "cannot hold so that it comes back. Give the field a type that pydantic reads from JSON, or leave "
                "out the demo."
            )
    return Demo(values, None if is_dict else seam.input_keys(demo), is_dict)


def _made_demo(demo: Demo, signature: type[dspy.Signature], where: str) -> Any:
    values = {}
    for name, value in demo.values.items():
        info = signature.fields.get(name)
        values[name] = made(value, info.annotation if info is not None else None)
        if not is_made(values[name]):
            raise PromptError(f"The field {name!r} in {where} is none of its type. Correct it in a new version.")
    if demo.is_dict:
        return values
    example = dspy.Example(values)
    return example if demo.inputs is None else example.with_inputs(*demo.inputs)


def _check_fit(said: Said, signature: type[dspy.Signature], where: str) -> None:
    unknown = sorted(said.variables - set(signature.input_fields))
    if unknown:
        raise PromptError(
            f"The prompt {where} has the variable {{{{{unknown[0]}}}}}, but the inputs of its predictor are "
            f"{', '.join(signature.input_fields)}. Load it over the program that it was written for, or correct it in "
            "a new version."
        )
    if said.fields is not None and set(said.fields) != set(signature.fields):
        raise PromptError(
            f"The prompt {where} is for the fields {', '.join(said.fields)}, but its predictor has "
            f"{', '.join(signature.fields)}. Load it over the program that it was written for."
        )


def _is_alike(a: Learnt, b: Learnt) -> bool:
    said = [[each.signature.instructions, *_words(each.signature), each.decisions] for each in (a, b)]
    return said[0] == said[1] and len(a.demos) == len(b.demos) and all(map(_is_same_demo, a.demos, b.demos))


def _words(signature: type[dspy.Signature]) -> list[Any]:
    return [(name, seam.words_of(info)) for name, info in signature.fields.items()]


def _is_same_demo(a: Any, b: Any) -> bool:
    return type(a) is type(b) and is_same(_content(a), _content(b))


def _content(demo: Mapping[str, Any] | dspy.Example) -> dict[str, Any]:
    if isinstance(demo, dspy.Example):
        return {"values": dict(demo.items(include_dspy=True)), "inputs": seam.input_keys(demo)}
    return {"values": dict(demo)}
