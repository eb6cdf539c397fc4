"""What the tests ask of programs that were saved and loaded: their requests, and what is in their folders."""

from pathlib import Path
from typing import Any

import dspy
import mlflow

from tests.fakes.scripted import scripted_lm
from tests.packaging.programs import TYPED_ANSWER


def prompt_of(program: dspy.Module, **inputs: Any) -> list[Any]:
    """Every request that the program sends to an LM that answers all fields alike."""
    fields = ("answer", "query", "reasoning", "passages")
    lm = scripted_lm({**TYPED_ANSWER, **dict.fromkeys(fields, "x")})
    with dspy.context(lm=lm):
        program(**inputs)
    return lm.script.requests


def reloaded(program: dspy.Module, folder: str | Path = "model", **options: Any) -> dspy.Module:
    """The program after saving and loading."""
    mlflow.dspy.save_model(program, folder, infer_code_paths=False, **options)
    return mlflow.dspy.load_model(str(folder))


def files_with(folder: str | Path, text: str) -> list[str]:
    """The files below a folder that hold the text, in any encoding that is used here."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    assert paths
    forms = {text.encode(), text.encode("utf-16-le"), text.encode("unicode_escape")}
    return [str(path) for path in paths if any(form in path.read_bytes() for form in forms)]
