"""The table of candidates: what each was, what it scored, and what it took."""

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.folding import cut, folded, shortened
from mlflow_dspy_plugin.tracking.report.markup import Html, element, join
from mlflow_dspy_plugin.tracking.report.reading import (
    FIELD_TEXTS,
    best_of,
    candidates_of,
    chosen_of,
    is_before,
    most_telling,
    predictors_of,
    program_before,
    program_of,
    spent_on,
    unit_of,
)

# More rows than this make a page slow to open and nobody reads them.
_MOST = 100
# Instructions are shown in full where the first and the best are compared.
_EXCERPT = 1_200
_COLUMNS = (
    "Candidate",
    ("Score", "figure"),
    "Status and why",
    "What was tried",
    "From",
    ("Rows", "figure"),
    ("LM calls", "figure"),
    ("Tokens", "figure"),
    ("Cost", "figure"),
    ("Time", "figure"),
)
_STATUS_KINDS = {"accepted": "good", "rejected": "bad"}


def candidates(record: Mapping[str, Any]) -> Html:
    """The section with the table; of very many candidates it shows the most telling."""
    every = candidates_of(record)
    if not every:
        return layout.section("candidates", "Candidates", layout.remark("None was scored."))
    shown = most_telling(record, _MOST)
    by_number = {each.get("number"): each for each in every}
    links = {each.get("number") for each in shown}
    chosen = chosen_of(record)
    rows = [_row(record, each, by_number, links, is_chosen=each is chosen) for each in shown]
    table = layout.table("Candidates in the order they were scored", _COLUMNS, rows)
    return layout.section("candidates", "Candidates", _left_out(len(every), len(shown)), table)


def _left_out(every: int, shown: int) -> Html | None:
    if every == shown:
        return None
    return layout.remark(
        element("strong", f"{wording.number(shown)} of {wording.number(every)} candidates are shown: "),
        "the best, the first, and of the others those that led when they were scored, were accepted, or are the "
        f"newest. {wording.number(every - shown)} are left out here; all are in ",
        element("code", "optimization.json"),
        ".",
    )


def _row(
    record: Mapping[str, Any],
    candidate: Mapping[str, Any],
    by_number: Mapping[Any, Mapping[str, Any]],
    links: set[Any],
    *,
    is_chosen: bool,
) -> Html:
    number, spent, same_as = candidate.get("number"), spent_on(candidate), candidate.get("same_as")
    parents = candidate.get("parents") or []
    before = program_of(record, by_number.get(parents[0])) if parents else program_before(record)
    tried = _tried(program_of(record, candidate), before, is_before(record, candidate))
    cost = spent.cost if spent.calls else None
    calls, tokens = (None, None) if candidate.get("usage") is None else (spent.calls, spent.total_tokens)
    return layout.row(
        join(f"#{number}", _mark(record, candidate) if is_chosen else None),
        layout.figure(unit_of(record).score(candidate.get("score")), _scored_on(candidate)),
        element("td", _status(candidate)),
        element("td", tried if same_as is None else join("the same as ", _parents([same_as], links))),
        element("td", _parents(parents, links)),
        layout.figure(wording.number(candidate.get("rows")), _failures(candidate)),
        layout.figure(wording.number(calls), _by_role(candidate)),
        layout.figure(wording.number(tokens)),
        layout.figure(wording.UNKNOWN if cost is None else wording.money(cost)),
        layout.figure(wording.duration(candidate.get("seconds")), _at(candidate)),
        id=f"candidate-{number}",
        class_="best" if is_chosen else None,
    )


def _mark(record: Mapping[str, Any], candidate: Mapping[str, Any]) -> Html:
    """The star is the program's that was returned, which is the best with most optimizers."""
    said = "★ best" if candidate is best_of(record) else "★ returned"
    return join(" ", element("span", said, class_="best-mark"))


def _scored_on(candidate: Mapping[str, Any]) -> str:
    return {"train": "on training examples"}.get(candidate.get("kind"), candidate.get("kind") or "")


def _status(candidate: Mapping[str, Any]) -> Html:
    status = candidate.get("status") or "scored"
    if candidate.get("same_as") is not None and status == "scored":
        status = "also scored"
    why = candidate.get("why")
    reason = element("div", folded(why, short=160), class_="why") if why else None
    return join(layout.badge(status, _STATUS_KINDS.get(status, "plain")), reason)


def _parents(parents: list[Any], links: set[Any]) -> Html:
    if not parents:
        return element("span", wording.UNKNOWN, class_="none")
    written = [element("a", f"#{each}", href=f"#candidate-{each}") if each in links else f"#{each}" for each in parents]
    return join(*[part for each in written for part in (", ", each)][1:])


def _failures(candidate: Mapping[str, Any]) -> str | None:
    return f"{wording.number(candidate['failures'])} failed" if candidate.get("failures") else None


def _at(candidate: Mapping[str, Any]) -> str | None:
    return None if candidate.get("at") is None else f"at {wording.duration(candidate['at'])}"


def _by_role(candidate: Mapping[str, Any]) -> str | None:
    """What the calls were made for, where that is more than one thing."""
    uses = {role: use["calls"] for role, use in (candidate.get("usage") or {}).items() if use and use.get("calls")}
    if not set(uses) - {"task"}:
        return None
    return " · ".join(f"{role} {wording.number(calls)}" for role, calls in uses.items())


def _tried(program: Mapping[str, Any] | None, before: Mapping[str, Any] | None, is_before: bool) -> Html:
    """What a program is made of, told by what is new in it."""
    if program is None:
        return element("span", "not written down", class_="none")
    old = predictors_of(before)
    told = [_news(name, each, old.get(name)) for name, each in predictors_of(program).items()]
    changed = [each for each in told if each]
    if is_before:
        summary = "the program as it was"
    elif before is not None and not changed:
        return element("span", "the same as before", class_="none")
    else:
        summary = shortened("; ".join(changed or told), 110)
    return element(
        "details", element("summary", summary), [_predictor(*each) for each in predictors_of(program).items()]
    )


def _news(name: str, predictor: Mapping[str, Any], old: Mapping[str, Any] | None) -> str | None:
    if old is None:
        return f"{name}: as it is"
    demos, demos_before = predictor.get("demos") or [], old.get("demos") or []
    news = (
        "new instructions" if predictor.get("instructions") != old.get("instructions") else None,
        "a new signature" if predictor.get("signature") != old.get("signature") else None,
        *_new_words(predictor.get("fields_said") or {}, old.get("fields_said") or {}),
        (wording.counted(len(demos), "demo") if demos else "no demos") if demos != demos_before else None,
    )
    said = ", ".join(each for each in news if each)
    return f"{name}: {said}" if said else None


def _new_words(said: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """What is said anew of fields that were there before."""
    for field in said:
        for key, title in FIELD_TEXTS.items():
            if field in before and said[field].get(key) != before[field].get(key):
                yield f"a new {title} of {field}"


def _predictor(name: str, predictor: Mapping[str, Any]) -> Html:
    demos = wording.counted(len(predictor.get("demos") or []), "demo")
    return element(
        "div",
        element("p", element("strong", name), f" · {demos}"),
        element("div", cut(predictor.get("instructions") or "", _EXCERPT), class_="text whole", dir="auto"),
        class_="tried",
    )
