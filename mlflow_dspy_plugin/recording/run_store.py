"""The operations on runs: plain data that survives the process, and what each does to MLflow's store.

An operation is a dict with its kind under `do` and its run under `run`: a key that this package has
made up, or `id:` and the id of a run that was there before. Its experiment is an id or a name. Each may
be done again: a process that died between doing and noting it leaves it to another.
"""

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_dspy_plugin.names import TAG_RUN_KEY
from mlflow_dspy_plugin.seams.active_run import BY_NAME
from mlflow_dspy_plugin.seams.refusals import Refusal, at_once, probe, refusal_of
from mlflow_dspy_plugin.seams.run_writes import end_quietly, log_text_of, tracking_store_of

Operation = Mapping[str, Any]
# What MLflow's stores take in one request, all together 1,000.
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 800, 100, 100
_ID = "id:"
# One that is forgotten is looked for in the store.
_MOST_IDS = 10_000
_MILLISECONDS = 1000


class RunStore:
    """A tracking store, as a place for runs.

    Args:
        uri: Its tracking URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client = MlflowClient(uri)
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._experiments: dict[str, str] = {}
        # Runs that were made here and have not ended, as MLflow gave them.
        self._made: dict[str, Run] = {}
        self._doing: dict[str, Callable[[Operation], None]] = {
            "begin": self._begin,
            "log": self._log,
            "params": self._params,
            "metrics": self._alone,
            "tags": self._alone,
            "inputs": self._inputs,
            "text": self._text,
            "model": self._model,
            "traces": self._traces,
            "end": self._end,
        }

    def run_id(self, key: str) -> str | None:
        """The id of a run, once it was made."""
        return key.removeprefix(_ID) if key.startswith(_ID) else self._ids.get(key)

    def made(self, key: str) -> Run | None:
        """A run that was made here, as it was then."""
        return self._made.get(key)

    def probe(self) -> Refusal | None:
        """Ask a server whether it is there."""
        return probe(tracking_store_of(self._client))

    def do(self, operation: Operation) -> Refusal | None:
        """Do an operation; why it was not done, or None."""
        try:
            with at_once():
                self._doing.get(operation["do"], _unknown)(operation)
        except Exception as error:
            return refusal_of(tracking_store_of(self._client), error)
        return None

    def _remember(self, key: str, run_id: str) -> None:
        self._ids[key] = run_id
        if len(self._ids) > _MOST_IDS:
            self._ids.popitem(last=False)

    def _id_of(self, operation: Operation) -> str:
        key = operation["run"]
        run_id = self.run_id(key) or self._found(key, operation["experiment"])
        if run_id is None:
            raise MlflowException.invalid_parameter_value(f"There is no run {key}; it was deleted, or never made.")
        self._remember(key, run_id)
        return run_id

    def _experiment(self, told: str) -> str:
        """The id of an experiment, which is made if it is known by a name that there is not."""
        if told.startswith(BY_NAME) and told not in self._experiments:
            name = told.removeprefix(BY_NAME)
            self._experiments[told] = self._experiment_named(name) or self._new_experiment(name)
        return self._experiments.get(told, told)

    def _experiment_named(self, name: str) -> str | None:
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else None

    def _new_experiment(self, name: str) -> str:
        try:
            return self._client.create_experiment(name)
        except MlflowException:
            # Another process may have made it since it was looked for.
            if (made := self._experiment_named(name)) is not None:
                return made
            raise

    def _id_or_key(self, key: str, experiment: str) -> str:
        return self.run_id(key) or self._found(key, experiment) or key

    def _found(self, key: str, experiment: str) -> str | None:
        """The run of a key, which another process has made."""
        wanted = f"tags.`{TAG_RUN_KEY}` = '{key}'"
        runs = self._client.search_runs([self._experiment(experiment)], wanted, max_results=1)
        return runs[0].info.run_id if runs else None

    def _begin(self, operation: Operation) -> None:
        key, experiment = operation["run"], operation["experiment"]
        if operation.get("again") and (run_id := self._found(key, experiment)) is not None:
            self._remember(key, run_id)
            return
        tags = {**operation["tags"], TAG_RUN_KEY: key}
        if (parent := operation.get("parent")) is not None:
            tags[MLFLOW_PARENT_RUN_ID] = self._id_of({"run": parent, "experiment": experiment})
        begun = self._client.create_run(self._experiment(experiment), _milliseconds(operation), tags, operation["name"])
        self._made[key] = begun
        self._remember(key, begun.info.run_id)

    def _log(self, operation: Operation) -> None:
        """Log what several operations say, in one request where that is not too much for one."""
        run_id = self._id_of(operation)
        params, metrics, tags = (list(_entities(operation["parts"], kind)) for kind in ("params", "metrics", "tags"))
        while params or metrics or tags:
            now = metrics[:MOST_METRICS], params[:MOST_PARAMS], tags[:MOST_TAGS]
            self._client.log_batch(run_id, *now)
            del metrics[:MOST_METRICS], params[:MOST_PARAMS], tags[:MOST_TAGS]

    def _params(self, operation: Operation) -> None:
        """Log the parameters that the run has not: MLflow refuses to change one, and with it all the others."""
        known = self._client.get_run(self._id_of(operation)).data.params
        new = {name: value for name, value in operation["params"].items() if name not in known}
        self._log({**operation, "parts": [{**operation, "params": new}]})

    def _alone(self, operation: Operation) -> None:
        self._log({**operation, "parts": [operation]})

    def _inputs(self, operation: Operation) -> None:
        context = [InputTag("mlflow.data.context", operation["context"])]
        dataset = DatasetInput(Dataset(**operation["dataset"]), context)
        self._client.log_inputs(self._id_of(operation), datasets=[dataset])

    def _text(self, operation: Operation) -> None:
        run_id, text = self._id_of(operation), operation["text"]
        for key in operation.get("named", ()):
            text = text.replace(key, self._id_or_key(key, operation["experiment"]))
        if (run := self.made(operation["run"])) is not None:
            log_text_of(self._client, run, text, operation["file"])
        else:
            self._client.log_text(run_id, text, operation["file"])

    def _model(self, operation: Operation) -> None:
        """Log a folder that `save_model` wrote, and delete it."""
        folder, run_id = Path(operation["folder"]), self._id_of(operation)
        if not folder.is_dir():
            return
        experiment = self._experiment(operation["experiment"])
        logged = self._client.create_logged_model(experiment, operation["name"], run_id)
        model = Model.load(str(folder / MLMODEL_FILE_NAME))
        model.model_id, model.run_id, model.artifact_path = logged.model_id, run_id, logged.artifact_location
        model.save(str(folder / MLMODEL_FILE_NAME))
        self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=operation["step"])])
        shutil.rmtree(folder, ignore_errors=True)
        dataset = {f"dataset_{key}": value for key, value in (operation.get("dataset") or {}).items()}
        for metric in operation.get("metrics") or ():
            self._client.log_metric(run_id, *metric, synchronous=True, model_id=logged.model_id, **dataset)

    def _traces(self, operation: Operation) -> None:
        self._client.link_traces_to_run(operation["traces"], self._id_of(operation))

    def _end(self, operation: Operation) -> None:
        run_id, made = self._id_of(operation), self.made(operation["run"])
        told = operation["status"], _milliseconds(operation)
        if made is not None and MLFLOW_PARENT_RUN_ID not in made.data.tags:
            # It says where the run can be seen.
            self._client.set_terminated(run_id, *told)
        else:
            end_quietly(self._client, run_id, *told)
        self._made.pop(operation["run"], None)


def existing(run_id: str) -> str:
    """The key of a run that was there before."""
    return f"{_ID}{run_id}"


def is_made_here(key: str) -> bool:
    """Whether it is the key of a run that this package has made, and has to end."""
    return not key.startswith(_ID)


def _milliseconds(operation: Operation) -> int:
    return int(operation["at"] * _MILLISECONDS)


def _unknown(operation: Operation) -> None:
    raise MlflowException.invalid_parameter_value(f"This release does not know the operation {operation['do']!r}.")


def _entities(operations: Iterable[Operation], kind: str) -> Iterable[Metric | Param | RunTag]:
    """What operations of a kind say, as MLflow has it; of what was said several times, what counts."""
    told = [operation[kind] for operation in operations if operation["do"] == kind]
    if kind == "metrics":
        return (Metric(*each) for metrics in told for each in metrics)
    # The first value of a parameter stays, and the last one of a tag.
    joined = {name: value for each in (reversed(told) if kind == "params" else told) for name, value in each.items()}
    return (_ENTITIES[kind](name, value) for name, value in joined.items())


_ENTITIES = {"params": Param, "tags": RunTag}
