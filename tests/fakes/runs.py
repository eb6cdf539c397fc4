"""The runs of a tracking server: what its REST interface takes and gives of them."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

BASE = "/api/2.0/mlflow/runs/"
_KEY = re.compile(r"tags\.`(?P<name>[^`]+)` = '(?P<value>[^']+)'")
Answer = tuple[int, dict[str, Any]]


class Runs:
    """Runs in memory.

    Attributes:
        kept: Each run by its id, as MLflow's JSON has it.
    """

    def __init__(self, artifacts: str) -> None:
        self._artifacts = artifacts
        self._lock = threading.Lock()
        self.kept: dict[str, dict[str, Any]] = {}
        self._doing: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "create": self._create,
            "get": lambda given: (200, {"run": self.kept[given["run_id"]]}),
            "search": self._search,
            "log-batch": self._log_batch,
            "log-inputs": self._log_inputs,
            "update": self._update,
        }

    def answer(self, path: str, query: str, body: bytes) -> Answer:
        """The status and the JSON for a request below `BASE`."""
        given = json.loads(body) if body else {name: values[0] for name, values in parse_qs(query).items()}
        with self._lock:
            return self._doing[path.removeprefix(BASE)](given)

    def named(self, name: str) -> list[dict[str, Any]]:
        """The runs of a name, oldest first."""
        return [run for run in self.kept.values() if run["info"]["run_name"] == name]

    def _create(self, given: dict[str, Any]) -> Answer:
        run_id = uuid.uuid4().hex
        info = {
            **{name: given[name] for name in ("experiment_id", "run_name", "start_time")},
            **{"run_id": run_id, "run_uuid": run_id, "status": "RUNNING", "lifecycle_stage": "active"},
            "artifact_uri": f"{self._artifacts}/{run_id}",
        }
        data = {"tags": given.get("tags", []), "params": [], "metrics": []}
        self.kept[run_id] = {"info": info, "data": data, "inputs": {"dataset_inputs": []}}
        return 200, {"run": self.kept[run_id]}

    def _search(self, given: dict[str, Any]) -> Answer:
        wanted = _KEY.fullmatch(given["filter"])
        tag = {"key": wanted["name"], "value": wanted["value"]}
        return 200, {"runs": [run for run in self.kept.values() if tag in run["data"]["tags"]]}

    def _log_batch(self, given: dict[str, Any]) -> Answer:
        data = self.kept[given["run_id"]]["data"]
        known = {param["key"]: param["value"] for param in data["params"]}
        for param in given.get("params", []):
            if known.get(param["key"], param["value"]) != param["value"]:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": f"{param['key']} has a value"}
        for kind in ("params", "metrics", "tags"):
            data[kind] += [each for each in given.get(kind, []) if each not in data[kind]]
        return 200, {}

    def _log_inputs(self, given: dict[str, Any]) -> Answer:
        self.kept[given["run_id"]]["inputs"]["dataset_inputs"] += given.get("datasets", [])
        return 200, {}

    def _update(self, given: dict[str, Any]) -> Answer:
        info = self.kept[given["run_id"]]["info"]
        info.update(status=given["status"], end_time=given.get("end_time", int(time.time() * 1000)))
        return 200, {"run_info": info}
