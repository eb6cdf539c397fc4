"""Which prompts of the registry are those of a program, and which of their versions a URI means."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.seams import prompts as seam

_SCHEME = "prompts:/"
_URI = re.compile(r"prompts:/(?P<name>[A-Za-z0-9_.-]+)(?:/(?P<number>[0-9]+)|(?P<alias>@[^@/]+))")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Wanted:
    """Versions of the prompts of a program.

    Attributes:
        name: The name that they were registered under.
        place: A number, or an alias after "@".
    """

    name: str
    place: str

    @classmethod
    def of(cls, uri: Any) -> "Wanted":
        """What a URI means.

        Raises:
            PromptError: If it is none of a prompt's.
        """
        found = _URI.fullmatch(uri) if isinstance(uri, str) else None
        if found is None:
            raise PromptError(
                f"{uri!r} is no URI of prompts. Give 'prompts:/<name>@<alias>', 'prompts:/<name>/<version>' or "
                "'prompts:/<name>@latest'."
            )
        return cls(found["name"], found["number"] or found["alias"])

    @property
    def uri(self) -> str:
        """The URI that means them."""
        return f"{_SCHEME}{self.name}{'' if self.place.startswith('@') else '/'}{self.place}"

    def find(self, program: dspy.Module) -> dict[str, Any]:
        """The version of each predictor of a program, as it is in the registry now.

        Raises:
            PromptError: If there is none for one of them, or they are of several registrations.
        """
        found: dict[str, Any] = {}
        for predictor, name in prompt_names(program, self.name).items():
            found[predictor] = seam.version_at(name, self.place)
            if found[predictor] is None:
                place = f"alias {self.place[1:]!r}" if self.place.startswith("@") else f"version {self.place}"
                raise PromptError(
                    f"The registry has no prompt {name!r} with the {place}, which the predictor {predictor!r} is to "
                    f"say. Register it by mlflow.dspy.register_prompts(program, {self.name!r}), or set the alias."
                )
        self._check_of_one_registration(found.values())
        return found

    def _check_of_one_registration(self, versions: Iterable[Any]) -> None:
        said = {f"{each.name}/{each.version}": each.tags.get(names.PROMPT_REGISTRATION) for each in versions}
        # What was written by hand belongs where its alias is set. Numbers are counted by each prompt for itself.
        registrations = set(said.values()) - ({None} if self.place.startswith("@") else set())
        if len(registrations) > 1:
            raise PromptError(
                f"{self.uri!r} would mix prompts that were not registered together: "
                f"{', '.join(said)}. If they are being registered just now, try again; else set one alias for those "
                "that belong together, and load it by that."
            )


def prompt_names(program: dspy.Module, name: str) -> Mapping[str, str]:
    """The name of the prompt of each predictor, by that of the predictor.

    That of an only predictor has the name itself. Else the predictor's is added: `name.draft`, `name.steps.0`.

    Raises:
        PromptError: If the name is none of a prompt's, there is no predictor, or two would have one prompt.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PromptError(
            f"{name!r} cannot name a prompt. Give a text of letters, digits, hyphens, underscores and dots."
        )
    predictors = [each for each, _ in program.named_predictors()]
    if not predictors:
        raise PromptError(f"{type(program).__name__} has no predictor. Give a program that has a dspy.Predict.")
    if len(predictors) == 1:
        return {predictors[0]: name}
    named = {each: f"{name}.{re.sub('[^A-Za-z0-9_-]+', '.', each).strip('.')}" for each in predictors}
    for predictor, given in named.items():
        others = [each for each in named if named[each] == given and each != predictor]
        if others:
            raise PromptError(
                f"The predictors {predictor!r} and {others[0]!r} would both be the prompt {given!r}. Rename one."
            )
    return named
