"""The page of an optimization: whole for every record, harmless for every text, small for every number."""

import json
from collections.abc import Mapping

import pytest

from mlflow_dspy_plugin.tracking.report.page import page_of
from tests.tracking.records import candidate, empty_record, failed_record, long_record, program, record
from tests.tracking.report.reader import Page

CANARY = """</style></title></textarea>--><script>alert(1)</script>"'><img src=x onerror=alert(2) x="'javascript:"""
PARTS = ["Learning curve", "What changed", "Won and lost", "Candidates", "Family tree", "Money and time"]


def poisoned(value):
    """A value with a canary in each of its texts, names too; what has one meaning in the format stays."""
    if isinstance(value, str):
        return value + CANARY
    if isinstance(value, Mapping):
        return {_poisoned_name(key): poisoned(item) for key, item in value.items()}
    return [poisoned(item) for item in value] if isinstance(value, list) else value


def _poisoned_name(name):
    return name if name in FORMAT else name + CANARY


FORMAT = set(
    "format optimizer parameters program metric status error started seconds datasets rows digest baseline best best_score percent"
    " usage calls cached input_tokens output_tokens total_tokens cost candidates number step at kind score failures parents"
    " why run_id is_best_so_far same_as programs class predictors signature fields_said prefix desc instructions demos notes candidate before returned left_out id"
    " inputs expected prediction trace_id tokens".split()
)
RECORDS = {
    "whole": record(),
    "empty": empty_record(),
    "nothing at all": {},
    "nulls": dict.fromkeys(record()),
    "failed": failed_record(),
    "killed": failed_record(status="KILLED", error=None),
    "without rows": record(rows={"before": [], "best": []}),
    "without programs": record(programs={}),
    "without the best": record(best=None, best_score=None),
    "best that is not there": record(best=999),
    "one candidate": record(candidates=record()["candidates"][:1], best=0, best_score=31.0),
    "no score": record(candidates=[{**each, "score": None} for each in record()["candidates"]]),
    "bare candidates": record(candidates=[{"number": number} for number in range(3)], best=2),
    "all scores the same": record(candidates=[{**each, "score": 31.0} for each in record()["candidates"]]),
    "below zero and above 100": record(
        candidates=[{**each, "score": -2e4 * each["number"]} for each in record()["candidates"]]
    ),
    "circular parents": record(candidates=[{**each, "parents": [0, 5, 11, 99]} for each in record()["candidates"]]),
    "long": long_record(500),
}


@pytest.mark.parametrize("made", RECORDS.values(), ids=RECORDS)
def test_every_record_makes_a_whole_and_harmless_page(made):
    page = Page(page_of(made))
    page.assert_harmless()
    assert page.html.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
    assert len(page.all("h1")) == 1
    assert page.tags >= {"h1", "h2", "section", "nav"}


@pytest.mark.parametrize("made", RECORDS.values(), ids=RECORDS)
def test_no_text_gets_out_of_its_place(made):
    clean, page = Page(page_of(made)), Page(page_of(poisoned(made)))
    page.assert_harmless()
    assert "script" not in page.tags
    # As text it is there, wherever the record has a text to show.
    assert ("<script>alert(1)</script>" in page.text) == bool(made.get("optimizer") or made.get("error"))
    assert "script" not in clean.text


def test_a_page_runs_nothing_and_fetches_nothing():
    [policy] = Page(page_of(record())).all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_the_page_says_what_was_optimized_by_what_from_where_to_where_how_long_and_for_how_much():
    page = Page(page_of(record()))
    assert "GEPA improved Sorter from 31.0% to 56.0%" in page.text
    assert "finished" in page.text
    story = "It scored 12 candidates by exact_match in 1 min 58 s. That took 423 LM calls with 93,906 tokens, which cost $0.1732."
    assert story in page.text
    assert "+25.0 points" in page.text
    for part in PARTS:
        assert part in page.text


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "GEPA improved Sorter from 31.0% to 56.0%"),
        ({"best_score": 31.0}, "GEPA found nothing better than Sorter as it was, at 31.0%"),
        ({"best_score": 28.0}, "GEPA took Sorter from 31.0% to 28.0%"),
        ({"baseline": None}, "GEPA compiled Sorter, which now scores 56.0%"),
        ({"best_score": None}, "GEPA compiled Sorter without scoring it"),
        ({"returned": "p8"}, "GEPA returned candidate 8 of Sorter, at 52.0%; the best was at 56.0%"),
        ({"returned": "p9"}, "GEPA returned candidate 9 of Sorter, at 33.3% on a minibatch; the best was at 56.0%"),
        ({"status": "RUNNING"}, "GEPA is optimizing Sorter: from 31.0% to 56.0% so far"),
        ({"status": "FAILED"}, "GEPA failed while optimizing Sorter: from 31.0% to 56.0% so far"),
        ({"status": "KILLED", "baseline": None}, "GEPA was stopped while optimizing Sorter: 56.0% so far"),
        ({"status": "KILLED", "best_score": None}, "GEPA was stopped while optimizing Sorter"),
        ({"optimizer": "my {loop}", "program": None}, "my {loop} improved an unnamed program from 31.0% to 56.0%"),
    ],
    ids=str,
)
def test_the_title_says_how_it_ended(changes, title):
    page = Page(page_of(record(**changes)))
    assert f"{title} " in page.text


def test_the_score_of_another_program_is_not_that_of_the_program_before():
    text = Page(page_of(record(baseline=None))).text
    assert "First candidate 31.0% the program before was not scored" in text
    assert "Gain –" in text


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"best_score": 755.0}, "GEPA improved Sorter from 31 to 755"),
        ({"baseline": -2.5}, "GEPA improved Sorter from −2.5 to 56"),
        ({"baseline": 0.455, "best_score": 0.56, "percent": False}, "GEPA improved Sorter from 0.455 to 0.56"),
    ],
    ids=str,
)
def test_a_score_that_is_no_share_has_no_sign_of_percent(changes, title):
    head = Page(page_of(record(**changes))).text.partition("Examples won")[0]
    assert title in head
    assert "%" not in head.replace("34.0%", "")


def test_a_gain_that_is_no_share_is_shown_as_exact_as_the_scores():
    assert "Gain +0.105 " in Page(page_of(record(baseline=0.455, best_score=0.56, percent=False))).text


@pytest.mark.parametrize("character", "\u202a\u202e\u2066\u2069")
def test_a_name_cannot_turn_the_text_around_it(character):
    html = page_of(record(optimizer=f"my {character}loop"))
    assert character not in html
    assert "my \N{REPLACEMENT CHARACTER}loop improved Sorter" in Page(html).text


def test_a_candidate_that_was_scored_twice_is_counted_once():
    again = [candidate(12 + n, 33.3, kind="minibatch", program="p8", same_as=8) for n in range(2)]
    page = Page(page_of(record(candidates=[*record()["candidates"], *again])))
    assert "It scored 12 candidates" in page.text
    assert "Candidates 12 " in page.text


def test_a_failure_is_shown_with_its_error_and_all_that_was_known():
    page = Page(page_of(failed_record()))
    assert "It did not come to its end." in page.text
    assert "ValueError: the metric broke on row 17" in page.text
    assert "from 31.0% to 46.0% so far" in page.text
    assert len(page.all("tr", id="candidate-5")) == 1


def test_a_killed_one_without_an_error_says_so_too():
    page = Page(page_of(failed_record(status="KILLED", error=None)))
    assert "stopped" in page.text
    assert "It did not come to its end." in page.text
    assert page.all("pre") == []


def test_what_was_left_out_is_told():
    assert "3 examples cannot be written as JSON (TypeError)" in Page(page_of(record())).text
    page = Page(page_of(record(left_out=[f"thing {number}" for number in range(150)])))
    assert "thing 99" in page.text
    assert "thing 100" not in page.text
    assert "50 more are in optimization.json" in page.text


def test_parameters_and_datasets_are_shown():
    text = Page(page_of(record())).text
    assert "reflection_lm openai/gpt-5" in text
    assert "valset 50 ef56ab78" in text


def test_two_thousand_candidates_make_a_small_page():
    html = page_of(long_record(2_000))
    assert len(html) < 400_000
    page = Page(html)
    assert len([attrs for attrs in page.all("tr") if attrs.get("id", "").startswith("candidate-")]) == 100
    assert "100 of 2,000 candidates are shown" in page.text
    assert "1,900 are left out here" in page.text


def test_prompts_of_100_kilobytes_are_compared_in_a_page_of_about_their_size():
    sentences = [
        f"Rule {number}: say topic {number % 9} where the text names thing {number}." for number in range(1_900)
    ]
    before, after = list(sentences), list(sentences)
    after[700] = "Rule 700: nothing."
    seed, best = program("\n".join(before)), program("\n".join(after))
    assert len("\n".join(before)) > 100_000
    programs = {**record()["programs"], "seed": seed, "best": best}
    html = page_of(record(programs=programs, candidates=[record()["candidates"][0], record()["candidates"][10]]))
    assert len(html) < 350_000
    page = Page(html)
    assert "words that stayed the same" in page.text
    assert "Rule 700: −say topic 7 where the text names thing 700. +nothing." in page.text


@pytest.mark.parametrize(
    "text", ["x" * 120_000, "word " * 30_000, "a. " * 40_000, "\n" * 100_000, "字" * 60_000], ids=lambda text: text[:5]
)
def test_a_huge_text_of_any_form_in_any_place_makes_no_huge_page(text):
    made = record()
    made["programs"]["best"] = program(text, [{"text": text, "topic": text}])
    made["parameters"]["note"], made["error"] = text, text
    made["candidates"][10]["why"] = text
    made["rows"]["best"][0] |= {"inputs": {"text": text}, "prediction": {"topic": text}, "error": text}
    made["notes"][1]["proposal"] = text
    html = page_of(made)
    Page(html).assert_harmless()
    assert len(html) < 600_000


@pytest.mark.parametrize(
    "text", ["Ürdü 日本語のテキスト 🎉", "العربية والعبرية", "\u202egnp.exe", "null\x00 and \x1b[31m", "half \ud83d"]
)
def test_texts_of_every_script_can_be_written(text):
    html = page_of(record(optimizer=text, parameters={text: text}, error=text))
    html.encode("utf-8")
    page = Page(html)
    page.assert_harmless()
    assert not set(html) & set("\x00\x1b")
    if text.isprintable():
        assert text in page.text


def test_what_is_no_text_is_shown_as_json():
    page = Page(page_of(record(parameters={"list": [1, None, {"a": True}], "none": None, "text": "[1]"})))
    assert 'list [1, null, {"a": true}] none null text [1]' in page.text


def test_making_a_page_leaves_the_record_alone():
    made = record()
    page_of(made)
    assert json.dumps(made) == json.dumps(record())
