"""What a SQLite store holds of traces, without what differs from one time to the next."""

import contextlib
import json
import re
import sqlite3
from pathlib import Path

# Table -> what orders its rows.
TABLES = {
    "trace_info": "timestamp_ms",
    "trace_tags": "key",
    "trace_request_metadata": "key",
    "spans": "start_time_unix_nano",
    "assessments": "created_timestamp",
    "entity_associations": "destination_id",
}
# Times, and how often a trace was written to.
_VARYING = re.compile(r"(_nano|_ms|_timestamp|duration_ns|_generation)$")
# These count the digits of times.
_SIZES = ("mlflow.trace.sizeStats", "mlflow.trace.sizeBytes")


def rows_of(database: Path) -> dict[str, list[dict]]:
    """The rows of all tables that hold traces; ids are numbered in the order in which they appear."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        present = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        tables = {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY {order}")]
            for name, order in TABLES.items()
            if name in present
        }
    return _numbered({name: [_timeless(row) for row in rows] for name, rows in tables.items()})


def _timeless(row: dict) -> dict:
    if row.get("key") in _SIZES:
        return {**row, "value": None}
    if "content" in row:
        row["content"] = {key: value for key, value in json.loads(row["content"]).items() if not _VARYING.search(key)}
        for event in row["content"].get("events", []):
            event["time_unix_nano"] = None
    return {key: value for key, value in row.items() if not _VARYING.search(key)}


def _numbered(tables: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """The tables with each random id replaced by a number."""
    ids = [row["request_id"] for row in tables["trace_info"]]
    for row in tables["spans"]:
        ids += [row["span_id"], row["content"]["span_id"], row["content"]["trace_id"]]
    ids += [row["assessment_id"] for row in tables["assessments"]]
    ids += [row["association_id"] for row in tables.get("entity_associations", ())]
    text = json.dumps(tables)
    for number, each in enumerate(dict.fromkeys(ids)):
        text = text.replace(each, f"id-{number:02}")
    return {name: sorted(rows, key=json.dumps) for name, rows in json.loads(text).items()}
