"""Write the page of the API by pdoc into a folder: `python .ci/api_page.py FOLDER`. What pdoc warns of is an error."""

import sys
import warnings
from pathlib import Path

import pdoc

import mlflow_dspy_plugin

MODULES = ("mlflow_dspy_plugin", "mlflow_dspy_plugin.errors")


def missing(page: Path) -> list[str]:
    """The public names that have no place of their own on the page."""
    text = page.read_text(encoding="utf-8")
    return [name for name in mlflow_dspy_plugin.__all__ if f'<section id="{name}">' not in text]


def main(folder: Path) -> None:
    # What warns when it is imported is no fault of the page.
    for name in mlflow_dspy_plugin.__all__:
        getattr(mlflow_dspy_plugin, name)
    pdoc.render.configure(docformat="google", show_source=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc(*MODULES, output_directory=folder)
    if names := missing(folder / "mlflow_dspy_plugin.html"):
        sys.exit(f"not on the page: {', '.join(names)}")


main(Path(sys.argv[1]))
