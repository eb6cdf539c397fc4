"""Fills a model folder around a program: signature, example, flavors, environment; and checks it for secrets."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dspy
import mlflow.pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.models.auth_policy import AuthPolicy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError, SecretError
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.programs.field_notes import field_notes
from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.programs.schema import signature_of
from mlflow_dspy_plugin.scrubbing.code_secrets import refuse_secret_texts
from mlflow_dspy_plugin.scrubbing.file_secrets import refuse_secrets_in_file
from mlflow_dspy_plugin.scrubbing.pickler import check_bytes
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which is as it was before if filling it fails."""
    folder = Path(path).absolute()
    existed = folder.exists()
    if existed and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelFolderError(f"The path {folder} already exists and is not empty. Give another one, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder)
        if existed:
            folder.mkdir()
        raise


def describe(
    mlflow_model: Model,
    fields: Fields,
    signature: ModelSignature | None,
    example: Any,
    folder: Path,
    scrubber: Scrubber,
    choosable_model: bool = False,
) -> None:
    """Set the signature and the input example of the model.

    Args:
        mlflow_model: The model.
        fields: The program's fields.
        signature: The signature that was given, if any.
        example: The input example that was given, if any.
        folder: The model folder, to which the example is written.
        scrubber: Leaves secrets out of the example.
        choosable_model: Whether a request may ask for another language model.
    """
    if isinstance(example, tuple) and len(example) == 2:
        example = (example[0], scrubber.scrub(example[1], "input_example.params"))
    saved = mlflow_seam.save_example(mlflow_model, example, str(folder))
    _redact_example(folder, scrubber)
    if signature is None and mlflow_model.signature is None:
        bare = example[0] if isinstance(example, tuple) and len(example) == 2 else example
        data = bare if isinstance(bare, str) or saved is None else saved.inference_data
        signature = signature_of(fields, data, choosable_model)
    if signature is not None:
        mlflow_model.signature = signature


def add_metadata(mlflow_model: Model, fields: Fields, metadata: dict[str, Any] | None, scrubber: Scrubber) -> None:
    """Set the metadata of the model, the fields' own words among it."""
    notes = field_notes(fields)
    merged = {
        **({names.METADATA_FIELDS: notes} if notes else {}),
        **(mlflow_model.metadata or {}),
        **(metadata or {}),
        **mlflow_seam.dependencies_metadata(),
    }
    if merged:
        mlflow_model.metadata = scrubber.scrub(merged, "metadata")


def add_access(mlflow_model: Model, resources: Any, auth_policy: AuthPolicy | None) -> None:
    """Set the Databricks resources that the model needs, or how it logs in to them."""
    if auth_policy is not None:
        mlflow_model.auth_policy = auth_policy
    if resources is not None:
        mlflow_model.resources = mlflow_seam.serialize_resources(resources)


def fields_section(fields: Fields, task: str | None) -> dict[str, Any]:
    """What the flavor's section says of the program's fields."""
    section: dict[str, Any] = {names.KEY_DSPY_VERSION: dspy.__version__}
    if fields.inputs is not None:
        section[names.KEY_INPUT_FIELDS] = list(fields.inputs)
    if fields.outputs is not None:
        section[names.KEY_OUTPUT_FIELDS] = list(fields.outputs)
    if task is not None:
        section[names.KEY_TASK] = task
    return section


def add_flavors(
    mlflow_model: Model, folder: Path, section: dict[str, Any], model_config: dict[str, Any] | None
) -> None:
    """Add this flavor, and the one by which MLflow serves it; that hands the configuration on to who loads."""
    if task := section.get(names.KEY_TASK):
        mlflow_model.metadata = {**(mlflow_model.metadata or {}), "task": task}
    mlflow_model.add_flavor(
        names.FLAVOR,
        **{names.KEY_FORMAT: folder_format.FORMAT},
        **{names.KEY_DIGESTS: folder_format.digests_of(folder)},
        **section,
    )
    # Without `code`: MLflow would put it on `sys.path` before this package can refuse the model.
    mlflow.pyfunc.add_to_model(
        mlflow_model,
        # The name of the package, never of a module in it: models keep it for ever.
        loader_module=names.PACKAGE,
        conda_env=mlflow_seam.CONDA_ENV_FILE,
        python_env=mlflow_seam.PYTHON_ENV_FILE,
        model_config=model_config,
        streamable=True,
    )
    mlflow_model.model_size_bytes = mlflow_seam.size_of(str(folder))


def report_left_out(left_out: Mapping[str, str | None]) -> None:
    """Say what was left out, once for all of it."""
    if left_out:
        places = [place + (f" (from {variable})" if variable else "") for place, variable in sorted(left_out.items())]
        _logger.warning(
            "Left out of the saved model, since they look like secrets: %s. Where it loads, language models read "
            "their keys from the environment; set anything else again.",
            ", ".join(places),
        )


def check_no_secret_below(folder: Path, secrets: Mapping[str, str]) -> None:
    """Refuse a folder in which a known secret stands, in any byte of any file, or what looks like one beside `data`.

    Raises:
        SecretError: Naming the file and the secret, never its value.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            check_bytes(path.read_bytes(), name, secrets)
            if name.startswith(f"{names.CODE_FOLDER}/"):
                _check_code(path, name)
            elif not name.startswith("data/"):
                refuse_secret_texts(path.read_text(encoding="utf-8", errors="ignore"), f"The file {name}")


def check_texts(stored: Any, what: str, secrets: Mapping[str, str]) -> None:
    """Refuse what MLflow is to store beside the folder, if a secret stands in it.

    Args:
        stored: Texts, in plain containers.
        what: What it is, for the error.
        secrets: Known secrets, by the words that name them.

    Raises:
        SecretError: Naming the secret, never its value.
    """
    text = repr(stored)
    check_bytes(text.encode(errors="surrogatepass"), what, secrets)
    refuse_secret_texts(text, what)


def _check_code(path: Path, name: str) -> None:
    try:
        refuse_secrets_in_file(path, f"The file {name}")
    except SecretError as error:
        raise SecretError(
            f"{error.message} If the file was not asked for, ship only what you name in code_paths, with "
            "infer_code_paths=False."
        ) from None


def _redact_example(folder: Path, scrubber: Scrubber) -> None:
    """Put out of sight what looks like a secret in the files of the input example."""
    for path in folder.glob("*input_example*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(scrubber.scrub(text, "input_example"), encoding="utf-8")
