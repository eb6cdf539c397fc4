"""The whole page of an optimization."""

from collections.abc import Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout
from mlflow_dspy_plugin.tracking.report.candidates import candidates
from mlflow_dspy_plugin.tracking.report.curve import curve
from mlflow_dspy_plugin.tracking.report.differences import differences
from mlflow_dspy_plugin.tracking.report.examples import examples
from mlflow_dspy_plugin.tracking.report.headline import headline, title_of
from mlflow_dspy_plugin.tracking.report.lineage import lineage
from mlflow_dspy_plugin.tracking.report.markup import element
from mlflow_dspy_plugin.tracking.report.parameters import left_out, parameters
from mlflow_dspy_plugin.tracking.report.spending import spending
from mlflow_dspy_plugin.tracking.report.timeline import timeline

# The order of the page, and what the links to its parts are called.
_PARTS = (
    ("curve", "Learning curve", curve),
    ("differences", "What changed", differences),
    ("examples", "Won and lost", examples),
    ("candidates", "Candidates", candidates),
    ("lineage", "Family tree", lineage),
    ("spending", "Money and time", spending),
    ("timeline", "What happened", timeline),
    ("parameters", "Set-up", parameters),
    ("left-out", "Left out", left_out),
)


def page_of(record: Mapping[str, Any]) -> str:
    """The record of an optimization as a self-contained HTML page.

    Args:
        record: What `optimization.json` holds, of an optimization that has ended in any way, or is under way.

    Returns:
        A document without scripts that fetches nothing.
    """
    made = [(name, title, part(record)) for name, title, part in _PARTS]
    shown = [(name, title, part) for name, title, part in made if part is not None]
    links = layout.contents((name, title) for name, title, _ in shown)
    end = element("footer", "Made by mlflow-dspy-plugin from the artifact optimization.json of this run.")
    return layout.document(title_of(record), headline(record), links, [part for _, _, part in shown], end)
