"""`load_model`: a model folder becomes a program again. Checked first, then made."""

import contextlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy
from mlflow.models import Model

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.needs.missing import check_modules
from mlflow_dspy_plugin.needs.versions import warn_of_differences
from mlflow_dspy_plugin.packaging import core_models
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.packaging.arguments import check_configure
from mlflow_dspy_plugin.packaging.contents import open_contents, read_contents
from mlflow_dspy_plugin.packaging.mlmodel import download, read_mlmodel, section_of
from mlflow_dspy_plugin.packaging.model_config import configured, overridden
from mlflow_dspy_plugin.packaging.trust import check_trust
from mlflow_dspy_plugin.programs.keys import warn_of_missing_keys
from mlflow_dspy_plugin.programs.origin import remember_origin
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.dspy import fill_settings


@dataclass(frozen=True)
class LoadedModel:
    """A program that came back from a folder.

    Attributes:
        program: The DSPy program.
        settings: DSPy's settings as they were when it was saved, without what was left out.
        task: The task that it was logged with, if any.
        mlmodel: What its MLmodel file says.
        allowed_models: The language models that a request may ask for.
        follow_prompts: The URI of the prompts that it is to follow where it is served, if any.
    """

    program: dspy.Module
    settings: Mapping[str, Any]
    task: str | None
    mlmodel: dict[str, Any]
    allowed_models: Sequence[str] = ()
    follow_prompts: str | None = None


def load_model(
    model_uri: str,
    dst_path: str | None = None,
    configure: bool | Literal["if-unset"] = "if-unset",
    model_config: dict[str, Any] | None = None,
) -> dspy.Module:
    """Load a DSPy program from a model, and DSPy's settings with it.

    Each setting (language model, adapter, retriever, ...) that nobody has set in this process gets
    the value it had when the model was saved; `configure` changes that. API keys are not saved: set
    their environment variables (OPENAI_API_KEY and so on) before the program is called.

    Args:
        model_uri: Where the model is: `runs:/<run_id>/<name>`, `models:/<name>/<version>`,
            `models:/<model_id>`, a local folder, or any other URI that MLflow downloads.
        dst_path: The local folder to download to; a temporary one by default.
        configure: True sets all saved settings, over those that you have set; False sets none.
        model_config: Other values for keys of the `model_config` that the model was logged with.

    Returns:
        The program.

    Raises:
        ModelFolderError: If the model is missing, half written, damaged, of another flavor, or of
            a format that a newer release has written; or if the environment does not trust its kind
            (MLFLOW_DSPY_TRUST, MLFLOW_ALLOW_PICKLE_DESERIALIZATION).
        InputError: If `configure` is none of the three, or `model_config` has a key that was not logged.
    """
    check_configure(configure)
    folder = download(model_uri, dst_path)
    loaded = read_folder(folder, model_config)
    fill_settings(dict(loaded.settings), configure)
    in_use = {name: value for name, value in loaded.settings.items() if dspy.settings.config.get(name) is value}
    warn_of_missing_keys(loaded.program, in_use)
    mlflow_seam.link_active_model(Model.from_dict(loaded.mlmodel))
    return loaded.program


def read_folder(folder: str | Path, model_config: Mapping[str, Any] | None = None) -> LoadedModel:
    """Read a local model folder, of this flavor or of the one that MLflow ships.

    Args:
        folder: The folder.
        model_config: Other values for keys of the logged `model_config`.

    Raises:
        ModelFolderError: See `load_model`.
        InputError: If `model_config` has a key that was not logged.
    """
    folder = Path(folder)
    mlmodel = read_mlmodel(folder)
    section = section_of(mlmodel, folder)
    by_core = names.KEY_FORMAT not in section
    if not by_core:
        folder_format.check_folder(folder, section)
    config = overridden(section[names.KEY_MODEL_CONFIG], model_config)
    opened = open_contents(folder, section)
    check_trust(folder, section, opened.audited)
    warn_of_differences(section.get(names.KEY_VERSIONS, {}))
    if code := section.get(names.KEY_CODE):
        folder_format.existing(folder, code)
    mlflow_seam.add_code_to_path(str(folder), section)
    check_modules(section.get(names.KEY_MODULES, {}), folder)
    with _explained(folder, section):
        program, settings = core_models.read(folder, section) if by_core else read_contents(opened, config)
    # MLflow's own flavor applies no configuration, and code has read it by itself.
    if not by_core and section.get(names.KEY_SERIALIZATION) != names.FORMAT_CODE:
        program = configured(program, config)
    remember_origin(program, mlmodel.get("model_id"))
    allowed_models = tuple(section.get(names.KEY_ALLOWED_MODELS, ()))
    follow_prompts = section.get(names.KEY_FOLLOW_PROMPTS)
    return LoadedModel(program, settings, section.get(names.KEY_TASK), mlmodel, allowed_models, follow_prompts)


@contextlib.contextmanager
def _explained(folder: Path, section: Mapping[str, Any]) -> Iterator[None]:
    """Say what to do where reading the program and the settings fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModelFolderError(
            f"The model in {folder} needs the module {error.name!r}, which cannot be imported here. "
            f"Install the model's requirements: pip install -r {folder / 'requirements.txt'}; a "
            "module of your own has to be on the Python path, or logged with code_paths=[...]."
        ) from error
    except (AttributeError, ImportError) as error:
        raise ModelFolderError(
            f"The model in {folder} needs code that is different here ({error}). It was saved with "
            f"dspy {section.get(names.KEY_DSPY_VERSION, 'of an unknown version')}, and this is dspy "
            f"{dspy.__version__}. Install the model's requirements: pip install -r "
            f"{folder / 'requirements.txt'}; or bring your own modules to the state they had then."
        ) from error
    except (EOFError, pickle.UnpicklingError) as error:
        raise ModelFolderError(
            f"The model in {folder} is damaged ({error}). It was half written or half copied; log or download it again."
        ) from error
