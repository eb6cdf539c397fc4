"""What an optimizer alone can tell, in order of time: reflections, merges, Pareto fronts and the like."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.folding import fields
from mlflow_dspy_plugin.tracking.report.markup import Html, element, join
from mlflow_dspy_plugin.tracking.report.reading import most_telling

# The beginning and the end of a long story.
_FIRST, _LAST = 40, 80
_TITLES = {
    "budget": "Budget",
    "bucket": "Bucket of examples",
    "demo_sets": "Demo sets",
    "merge": "Merge",
    "pareto": "Pareto front",
    "proposal": "Proposal",
    "reflection": "Reflection",
    "rule": "Rule",
}
_APART = {"at", "kind", "candidate"}
# As many as the table of candidates shows.
_LINKED = 100


def timeline(record: Mapping[str, Any]) -> Html | None:
    """The section with the notes; None where there are none."""
    notes = record.get("notes") or []
    if not notes:
        return None
    links = {each.get("number") for each in most_telling(record, _LINKED)}
    rest = len(notes) - _FIRST - _LAST
    shown = notes if rest <= 0 else [*notes[:_FIRST], None, *notes[-_LAST:]]
    items = [_gap(rest) if each is None else _note(each, links) for each in shown]
    return layout.section("timeline", "What happened", _counts(notes), element("ol", items, class_="timeline"))


def _counts(notes: list[Mapping[str, Any]]) -> Html:
    kinds = Counter(_title(each.get("kind")) for each in notes)
    return layout.remark(", ".join(f"{title}: {wording.number(count)}" for title, count in kinds.most_common()), ".")


def _title(kind: Any) -> str:
    words = str(kind or "note").replace("_", " ")
    return _TITLES.get(kind, words[:1].upper() + words[1:])


def _gap(rest: int) -> Html:
    return element("li", f"{wording.counted(rest, 'note')} in between are left out here.", class_="gap")


def _note(note: Mapping[str, Any], links: set[Any]) -> Html:
    number = note.get("candidate")
    name = f"#{number}"
    about = None
    if number is not None:
        about = join(" · candidate ", element("a", name, href=f"#candidate-{number}") if number in links else name)
    facts = {key.replace("_", " "): value for key, value in note.items() if key not in _APART and value is not None}
    when = element("span", wording.duration(note.get("at")), class_="time")
    heading = element("p", when, " ", element("strong", _title(note.get("kind"))), about)
    return element("li", heading, fields(facts) if facts else None)
