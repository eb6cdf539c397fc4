"""The first thing that a reader sees: what was optimized, what came of it, and what it took."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.folding import as_text, cut, shortened
from mlflow_dspy_plugin.tracking.report.markup import Html, element
from mlflow_dspy_plugin.tracking.report.reading import best_of, candidates_of, chosen_of, spent_on, tried_in, unit_of

# A status -> how it is said, and in what colour.
_STATUS = {
    "FINISHED": ("finished", "good"),
    "RUNNING": ("still running", "info"),
    "FAILED": ("failed", "bad"),
    "KILLED": ("stopped", "warn"),
}
_UNFINISHED = {
    "RUNNING": "{optimizer} is optimizing {program}",
    "FAILED": "{optimizer} failed while optimizing {program}",
    "KILLED": "{optimizer} was stopped while optimizing {program}",
}


def title_of(record: Mapping[str, Any]) -> str:
    """What came of it, in one sentence."""
    names, unit = {each: _name(record, each) for each in ("optimizer", "program")}, unit_of(record)
    before, best = record.get("baseline"), record.get("best_score")
    if record.get("status") in _UNFINISHED:
        return _UNFINISHED[record["status"]].format(**names) + _so_far(before, best, unit)
    chosen = chosen_of(record)
    if chosen is not best_of(record):
        names["returned"] = f"candidate {chosen.get('number')}"
        part = " on a minibatch" if chosen.get("kind") == "minibatch" else ""
        names["score"] = f"{unit.score(chosen.get('score'))}{part}"
        said = "{optimizer} returned {returned} of {program}, at {score}; the best was at {best}"
    elif best is None:
        said = "{optimizer} compiled {program} without scoring it"
    elif before is None:
        said = "{optimizer} compiled {program}, which now scores {best}"
    elif best == before:
        said = "{optimizer} found nothing better than {program} as it was, at {before}"
    else:
        said = f"{{optimizer}} {'improved' if best > before else 'took'} {{program}} from {{before}} to {{best}}"
    return said.format(**names, before=unit.score(before), best=unit.score(best))


def headline(record: Mapping[str, Any]) -> Html:
    """The title, the story in a sentence or two, the figures, and what went wrong."""
    word, kind = _STATUS.get(record.get("status"), (str(record.get("status")).lower(), "plain"))
    return element(
        "header",
        element("p", "Optimization report ", layout.badge(word, kind), class_="eyebrow"),
        element("h1", title_of(record)),
        element("p", " ".join(_story(record)), class_="lede"),
        _error(record),
        layout.tiles(*_tiles(record)),
    )


def _name(record: Mapping[str, Any], key: str) -> str:
    # Braces are the user's: names are put in by `format`, which leaves what is in them alone.
    return shortened(record.get(key) or f"an unnamed {key}", 60)


def _so_far(before: float | None, best: float | None, unit: wording.Unit) -> str:
    if best is None:
        return ""
    if before is None or best == before:
        return f": {unit.score(best)} so far"
    return f": from {unit.score(before)} to {unit.score(best)} so far"


def _story(record: Mapping[str, Any]) -> Iterator[str]:
    tried, spent = len(tried_in(record)), spent_on(record)
    metric = f" by {shortened(record['metric'], 60)}" if record.get("metric") else ""
    if tried:
        yield f"It scored {wording.counted(tried, 'candidate')}{metric} in {wording.duration(record.get('seconds'))}."
    else:
        yield f"No candidate was scored in {wording.duration(record.get('seconds'))}."
    if spent.calls:
        cost = f", which cost {_cost(spent)}" if spent.cost is not None else ", at a cost that is not known"
        calls, tokens = wording.counted(spent.calls, "LM call"), wording.counted(spent.total_tokens, "token")
        yield f"That took {calls} with {tokens}{cost}."
    if record.get("started") is not None:
        yield f"Started on {wording.moment(record['started'])}."


def _error(record: Mapping[str, Any]) -> Html | None:
    error = record.get("error")
    if not error and record.get("status") not in ("FAILED", "KILLED"):
        return None
    return element(
        "div",
        element("p", element("strong", "It did not come to its end. "), "This page shows what was known until then."),
        element("pre", cut(as_text(error), 4_000), dir="auto") if error else None,
        class_="alert",
    )


def _tiles(record: Mapping[str, Any]) -> Iterator[Html]:
    before, best, spent = record.get("baseline"), record.get("best_score"), spent_on(record)
    gain = None if before is None or best is None else best - before
    kind = "good" if gain and gain > 0 else "bad" if gain and gain < 0 else None
    yield _start(record, before)
    number, unit = record.get("best"), unit_of(record)
    yield layout.tile("Best", unit.score(best), beside=None if number is None else f"candidate {number}")
    yield layout.tile("Gain", unit.difference(gain), kind=kind)
    candidates = tried_in(record)
    states = Counter(each.get("status") for each in candidates)
    said = ", ".join(f"{wording.number(states[each])} {each}" for each in ("accepted", "rejected") if states[each])
    yield layout.tile("Candidates", wording.number(len(candidates)), beside=said)
    yield layout.tile("Time", wording.duration(record.get("seconds")))
    cached = f"{wording.number(spent.cached)} from the cache" if spent.cached else None
    yield layout.tile("LM calls", wording.number(spent.calls), beside=cached)
    yield layout.tile("Tokens", wording.number(spent.total_tokens))
    yield layout.tile("Cost", _cost(spent) if spent.calls else wording.UNKNOWN)


def _start(record: Mapping[str, Any], before: float | None) -> Html:
    """Where it began: the first candidate is no baseline, for it may be far from the program before."""
    kind = (best_of(record) or {}).get("kind")
    alike = [each for each in candidates_of(record) if each.get("kind") == kind]
    scores = [each["score"] for each in alike if each.get("score") is not None]
    if before is not None or len(scores) < 2:
        return layout.tile("Before", unit_of(record).score(before))
    return layout.tile("First candidate", unit_of(record).score(scores[0]), beside="the program before was not scored")


def _cost(spent: Any) -> str:
    known = wording.money(spent.cost)
    return known if spent.whole_cost or spent.cost is None else f"at least {known}"
