"""What changed in the program: instructions and demos of every predictor, from the program before to the best."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.folding import as_text, cut, folded
from mlflow_dspy_plugin.tracking.report.markup import Html, element, join
from mlflow_dspy_plugin.tracking.report.reading import (
    FIELD_TEXTS,
    best_of,
    candidates_of,
    chosen_of,
    predictors_of,
    program_before,
    program_of,
    program_returned,
)
from mlflow_dspy_plugin.tracking.report.wordwise import Piece, compare_words

_MOST_TEXT = 200_000
_MOST_DEMOS = 40
# Stretches longer than this are folded, but for their ends; those that changed later.
_LONG_SAME, _LONG_CHANGE, _END = 700, 4_000, 200
# White space at the ends of a text, and between its paragraphs.
_AROUND = re.compile(r"(^\s+|\s+$|\s*\n\s*\n\s*)")
# Demos that share less are two demos, not one that was changed.
_ALIKE = 0.5


def differences(record: Mapping[str, Any]) -> Html:
    """The section that compares the program before with the best one."""
    name, title = "differences", "What changed in the program"
    first, last = _first(record), _last(record)
    if last is None:
        return layout.section(name, title, layout.remark("No program that was tried was written down."))
    before, after = predictors_of(first.program), predictors_of(last.program)
    if first.program is last.program:
        note = layout.remark(
            f"{last.name[:1].upper()}{last.name[1:]} is {first.name}: no instructions or demos changed."
        )
        return layout.section(name, title, note, _predictors(before, before))
    how = layout.remark(
        f"From {first.name} to {last.name}: ",
        element("del", _sign(wording.MINUS), "taken out"),
        " ",
        element("ins", _sign("+"), "put in"),
        ".",
    )
    return layout.section(name, title, how, _predictors(before, after))


@dataclass(frozen=True)
class _End:
    """A program that is compared, and what it is called."""

    program: Mapping[str, Any]
    name: str


def _first(record: Mapping[str, Any]) -> _End:
    """The program before; the first candidate where none was given."""
    before = program_before(record)
    if before is not None:
        return _End(before, "the program before")
    written = _written(record)
    return _candidate(record, written[0], "the first") if written else _End({}, "nothing")


def _last(record: Mapping[str, Any]) -> _End | None:
    """The program that was returned, else the best candidate, or the last one where none is the best."""
    written, best, chosen = _written(record), best_of(record), chosen_of(record)
    returned = program_returned(record)
    if returned is not None and program_of(record, chosen) is not returned:
        return _End(returned, "the program that was returned")
    if chosen in written and chosen is not best:
        return _candidate(record, chosen, "which was returned")
    if best in written:
        return _candidate(record, best, "the best")
    return _candidate(record, written[-1], "the last") if written else None


def _written(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in candidates_of(record) if program_of(record, each) is not None]


def _candidate(record: Mapping[str, Any], candidate: Mapping[str, Any], what: str) -> _End:
    return _End(program_of(record, candidate), f"candidate {candidate.get('number')} ({what})")


def _predictors(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Html]:
    names = dict.fromkeys([*before, *after])
    return [_predictor(name, before.get(name) or {}, after.get(name) or {}) for name in names]


def _predictor(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Html:
    signatures = before.get("signature") or "", after.get("signature") or ""
    return element(
        "article",
        element("h3", element("code", name)),
        element("p", "Signature ", element("code", _compared(*signatures)), class_="signature"),
        _instructions(before.get("instructions") or "", after.get("instructions") or ""),
        _fields(before.get("fields_said") or {}, after.get("fields_said") or {}),
        _demos(before.get("demos") or [], after.get("demos") or []),
    )


def _fields(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> Html | None:
    """What is said of fields, where that has changed."""
    items = [
        element(
            "li", element("code", name), f" {title}: ", element("span", _compared(*texts), class_="text", dir="auto")
        )
        for name in dict.fromkeys([*before, *after])
        for key, title in FIELD_TEXTS.items()
        if len(set(texts := tuple((side.get(name) or {}).get(key) or "" for side in (before, after)))) > 1
    ]
    return join(element("h4", "Fields"), element("ul", items, class_="demos")) if before and items else None


def _instructions(before: str, after: str) -> Html:
    news = "the same in both" if before == after else f"{_length(before)} → {_length(after)}"
    heading = element("h4", "Instructions ", element("small", news))
    return join(heading, element("div", _compared(before, after), class_="text diff", dir="auto"))


def _length(text: str) -> str:
    return wording.counted(len(text.split()), "word")


def _compared(before: str, after: str) -> Html:
    """Two texts as one, with what was taken out and what was put in."""
    pieces = compare_words(cut(before, _MOST_TEXT), cut(after, _MOST_TEXT))
    if not pieces:
        return element("span", "(empty)", class_="none")
    note = None
    if before != after and all(piece.same for piece in pieces):
        note = element("small", " (only white space changed)")
    return join([_piece(each) for each in pieces], note)


def _piece(piece: Piece) -> Html:
    if piece.same:
        return _same(piece.after)
    return join(_marked("del", wording.MINUS, piece.before), _marked("ins", "+", piece.after))


def _marked(tag: str, sign: str, text: str) -> Html:
    """Words with their mark, the middle of many behind its beginning."""
    if len(text) <= _LONG_CHANGE:
        return _paragraphs(tag, sign, text)
    middle = text[_END:-_END]
    summary = element("summary", f"{_length(middle)} more {'put in' if tag == 'ins' else 'taken out'}")
    folded = element("details", summary, _paragraphs(tag, sign, middle), class_="stayed")
    return join(_paragraphs(tag, sign, text[:_END]), folded, _paragraphs(tag, sign, text[-_END:]))


def _paragraphs(tag: str, sign: str, text: str) -> Html:
    """Words with their mark, paragraph by paragraph; the white space around these is not marked."""
    parts = _AROUND.split(text)
    return join(part if not part.strip() else element(tag, _sign(sign), part) for part in parts)


def _sign(sign: str) -> Html:
    return element("span", sign, class_="sign")


def _same(text: str) -> Html:
    if len(text) <= _LONG_SAME:
        return join(text)
    middle = text[_END:-_END]
    summary = element("summary", f"{_length(middle)} that stayed the same")
    return join(text[:_END], element("details", summary, middle, class_="stayed"), text[-_END:])


def _demos(before: list[Any], after: list[Any]) -> Html | None:
    if not before and not after:
        return element("p", "No demos.", class_="none")
    compared = list(_compared_demos(before, after))
    states = [state for state, _ in compared]
    words = {"gone": "taken out", "changed": "changed", "new": "put in", "same": "kept"}
    counts = ", ".join(f"{states.count(state)} {word}" for state, word in words.items() if state in states)
    # What changed first.
    ordered = [item for wanted in ("changed", "new", "gone", "same") for state, item in compared if state == wanted]
    rest = len(ordered) - _MOST_DEMOS
    return join(
        element("h4", "Demos ", element("small", f"{len(before)} → {len(after)}: {counts}")),
        element("ul", ordered[:_MOST_DEMOS], class_="demos"),
        layout.remark(f"{wording.counted(rest, 'more demo')} are left out here.") if rest > 0 else None,
    )


def _compared_demos(before: list[Any], after: list[Any]) -> Iterator[tuple[str, Html]]:
    """Each demo of both, with what became of it."""
    texts = [[_demo_text(demo) for demo in side] for side in (before, after)]
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        for old, new in zip_longest(texts[0][i1:i2], texts[1][j1:j2]):
            if kind == "equal":
                yield "same", element("li", folded(new, short=200), class_="same")
            elif old is not None and new is not None and _alike(old, new):
                yield "changed", element("li", element("div", _compared(old, new), class_="text", dir="auto"))
            else:
                if old is not None:
                    yield "gone", element("li", element("del", _sign(wording.MINUS), folded(old)), class_="gone")
                if new is not None:
                    yield "new", element("li", element("ins", _sign("+"), folded(new)), class_="new")


def _demo_text(demo: Any) -> str:
    if not isinstance(demo, Mapping):
        return as_text(demo)
    lines = [f"{name}: {as_text(value)}" for name, value in demo.items() if name != "augmented"]
    return "\n".join([*lines, *(["(answered by the program itself)"] if demo.get("augmented") else [])])


def _alike(old: str, new: str) -> bool:
    words = old.split(), new.split()
    if sum(map(len, words)) > 4_000:
        return False
    return SequenceMatcher(None, *words, autojunk=False).quick_ratio() >= _ALIKE
