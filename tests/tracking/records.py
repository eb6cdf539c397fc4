"""Records of optimizations, made by hand, in the form of the artifact `optimization.json`."""

from copy import deepcopy
from typing import Any

SEED = "Given the fields `text`, produce the fields `topic`."
EVOLVED = """You sort short news texts by topic.

Given the fields `text`, produce the field `topic`, which is exactly one of: earn, acq, crude, trade, money-fx, interest, ship, grain.

- A text about profits, dividends or "shr" figures is earn, even where it also names a takeover.
- A text about barrels, OPEC or refineries is crude; about vessels or ports it is ship.
- Answer with the topic alone, in lower case."""
TEXTS = (
    "Shr 31 cts vs 24 cts. Net 1.2 mln vs 0.9 mln.",
    "OPEC ministers agreed on Sunday to hold output at 15.8 mln barrels a day.",
    "The Bank of Japan bought dollars in Tokyo to slow the rise of the yen, dealers said.",
    "Tankers waited off Rotterdam as the port strike entered its second week.",
    "Cargill said it will acquire the grain elevators of Continental for an undisclosed sum.",
)
TOPICS = ("earn", "crude", "money-fx", "ship", "acq")
# Number, score, kind, parents, status, why, program
GEPA = (
    (0, 31.0, "full", [], "accepted", None, "seed"),
    (1, 30.0, "minibatch", [0], "rejected", "scored 30.0% on the minibatch, its parent 33.3%", "p1"),
    (2, 40.0, "full", [0], "accepted", "reflection on 3 examples", "p2"),
    (3, 38.0, "full", [0], "accepted", "reflection on 3 examples", "p3"),
    (4, 33.3, "minibatch", [2], "rejected", "scored 33.3% on the minibatch, its parent 33.3%", "p4"),
    (5, 46.0, "full", [2], "accepted", "reflection on 3 examples", "p5"),
    (6, None, "minibatch", [3], "rejected", "its prompt was too long for the LM", "p6"),
    (7, 44.0, "full", [5, 3], "accepted", "merged from #5 and #3", "p7"),
    (8, 52.0, "full", [5], "accepted", "reflection on 3 examples", "p8"),
    (9, 33.3, "minibatch", [7], "rejected", "scored 33.3% on the minibatch, its parent 66.7%", "p9"),
    (10, 56.0, "full", [8], "accepted", "reflection on 3 examples", "best"),
    (11, 50.0, "full", [10], "accepted", "reflection on 3 examples", "p11"),
)


def usage(calls: int, cost: float | None = 0.0, cached: int = 0) -> dict[str, Any]:
    tokens = {"input_tokens": 210 * calls, "output_tokens": 12 * calls, "total_tokens": 222 * calls}
    return {"calls": calls, "cached": cached, **tokens, "cost": cost, "seconds": 0.04 * calls}


def program(instructions: str, demos: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    said = {name: {"prefix": f"{name.title()}:", "desc": f"${{{name}}}"} for name in ("text", "topic")}
    predictor = {"signature": "text -> topic", "instructions": instructions, "fields_said": said, "demos": demos or []}
    return {"class": "Sorter", "predictors": {"sort.predict": predictor}}


def row(number: int, right: bool, **changes: Any) -> dict[str, Any]:
    text, topic = TEXTS[number % len(TEXTS)], TOPICS[number % len(TOPICS)]
    made = {
        "id": f"digest-{number}",
        "inputs": {"text": f"{text} (#{number})"},
        "expected": {"topic": topic},
        "prediction": {"topic": topic if right else "trade"},
        "score": float(right),
        "error": None,
        "trace_id": f"tr-{number:08d}",
        "seconds": 0.1,
        "tokens": 222,
        "cost": 0.0001,
    }
    return {**made, **changes}


def rows(right: int, total: int = 50, first: int = 0) -> list[dict[str, Any]]:
    """Rows of which some are right, from the `first` on, in a circle."""
    return [row(number, (number - first) % total < right) for number in range(total)]


def candidate(number: int, score: float | None, **changes: Any) -> dict[str, Any]:
    made = {
        "number": number,
        "step": number,
        "at": 9.5 * number + 4.2,
        "seconds": 2.4,
        "program": None,
        "kind": "full",
        "score": score,
        "rows": 50,
        "failures": 0,
        "parents": [],
        "status": "scored",
        "why": None,
        "usage": {"task": usage(50, 0.005)},
        "run_id": None,
        "is_best_so_far": False,
        "same_as": None,
    }
    return {**made, **changes}


def gepa_candidates() -> list[dict[str, Any]]:
    made, best = [], -1.0
    for number, score, kind, parents, status, why, digest in GEPA:
        leads = kind == "full" and score is not None and score > best
        best = score if leads else best
        calls = {"task": usage(50 if kind == "full" else 3, 0.005)}
        if parents:
            calls["reflection"] = usage(1, 0.012)
        facts = {"kind": kind, "parents": parents, "status": status, "why": why, "program": digest, "usage": calls}
        size = {"rows": 50 if kind == "full" else 3, "failures": 2 if number == 3 else 0}
        made.append(candidate(number, score, **facts, **size, is_best_so_far=leads))
    return made


def gepa_programs() -> dict[str, Any]:
    demo = {"text": TEXTS[0], "topic": "earn", "augmented": True}
    step = EVOLVED.split("\n\n")[0] + "\n\n" + SEED
    programs = {digest: program(f"{step}\nAttempt {number}.") for number, *_, digest in GEPA}
    return {
        **programs,
        "seed": program(SEED, [{"text": TEXTS[3], "topic": "trade"}, {"text": TEXTS[1], "topic": "crude"}]),
        "best": program(EVOLVED, [{"text": TEXTS[3], "topic": "ship"}, {"text": TEXTS[1], "topic": "crude"}, demo]),
    }


def notes() -> list[dict[str, Any]]:
    proposal = "Answer with the topic alone, in lower case."
    return [
        {"at": 4.2, "kind": "budget", "metric_calls": 400},
        {
            "at": 12.0,
            "kind": "reflection",
            "candidate": 2,
            "predictor": "sort.predict",
            "examples": 3,
            "proposal": EVOLVED,
        },
        {"at": 60.0, "kind": "merge", "candidate": 7, "of": [5, 3], "ancestor": 0},
        {"at": 70.5, "kind": "pareto", "front": [2, 5, 8], "examples": 50},
        {"at": 96.0, "kind": "reflection", "candidate": 10, "predictor": "sort.predict", "proposal": proposal},
        {"at": 99.0, "kind": "pareto", "front": [5, 8, 10], "examples": 50},
    ]


def record(**changes: Any) -> dict[str, Any]:
    """A GEPA run that went well, with what is to be different."""
    made = {
        "format": 1,
        "optimizer": "GEPA",
        "parameters": {
            "auto": "light",
            "num_threads": 8,
            "reflection_lm": "openai/gpt-5",
            "seed": 0,
            "use_merge": True,
        },
        "program": "Sorter",
        "metric": "exact_match",
        "status": "FINISHED",
        "error": None,
        "started": 1732200000.0,
        "seconds": 118.4,
        "datasets": {"trainset": {"rows": 100, "digest": "ab12cd34"}, "valset": {"rows": 50, "digest": "ef56ab78"}},
        "baseline": 31.0,
        "best": 10,
        "best_score": 56.0,
        "percent": True,
        "usage": {"task": usage(412, 0.0412, cached=20), "reflection": usage(11, 0.132), "metric": usage(0)},
        "candidates": gepa_candidates(),
        "before": "seed",
        "returned": "best",
        "programs": gepa_programs(),
        "notes": notes(),
        "rows": {"before": rows(16, first=47), "best": rows(28)},
        "left_out": ["trainset: 3 examples cannot be written as JSON (TypeError)"],
    }
    return deepcopy({**made, **changes})


def empty_record(**changes: Any) -> dict[str, Any]:
    """One that has just begun, or was cut off at once."""
    nothing = {"candidates": [], "programs": {}, "notes": [], "rows": {"before": [], "best": []}, "left_out": []}
    nothing |= {
        "returned": None,
        "baseline": None,
        "best": None,
        "best_score": None,
        "usage": {},
        "datasets": {},
        "parameters": {},
    }
    return record(**{**nothing, "status": "RUNNING", "seconds": 0.0, **changes})


def failed_record(**changes: Any) -> dict[str, Any]:
    """One that failed half-way."""
    half = {"candidates": gepa_candidates()[:6], "best": 5, "best_score": 46.0, "returned": None}
    return record(**{**half, "status": "FAILED", "error": "ValueError: the metric broke on row 17", **changes})


def long_record(count: int, **changes: Any) -> dict[str, Any]:
    """One of very many candidates, each made from an earlier one."""
    made = []
    best = 0.0
    for number in range(count):
        score = 30 + 40 * (1 - 1 / (1 + number / 300)) + (number * 7919 % 100) / 10 - 5
        full, leads = number % 5 == 0, number % 5 == 0 and score > best
        best = score if leads else best
        facts = {"kind": "full" if full else "minibatch", "status": "accepted" if number % 7 == 0 else "rejected"}
        parents = [number * 3 // 4] if number else []
        uses = {"task": usage(50, 0.005), "reflection": usage(1, 0.01)}
        made.append(
            candidate(number, score, **facts, parents=parents, usage=uses, program=f"d{number}", is_best_so_far=leads)
        )
    leader = next(each for each in reversed(made) if each["is_best_so_far"])
    programs = {f"d{number}": program(f"{SEED} Attempt {number}, with some words more.") for number in range(count)}
    facts = {"candidates": made, "programs": programs, "best": leader["number"], "best_score": leader["score"]}
    facts |= {"before": "d0", "returned": leader["program"]}
    happened = [{"at": float(number), "kind": "reflection", "candidate": number} for number in range(count)]
    return record(**{**facts, "baseline": made[0]["score"], "notes": happened, **changes})
