"""The table of candidates says what each was, what it scored and what it took."""

import re

from mlflow_dspy_plugin.tracking.report.candidates import candidates
from tests.tracking.records import candidate, long_record, program, record, usage
from tests.tracking.report.reader import Page


def shown(made):
    return Page(candidates(made))


def line_of(made, number):
    """The text of one row."""
    html = candidates(made)
    [row] = re.findall(rf'<tr id="candidate-{number}".*?</tr>', html, flags=re.DOTALL)
    return Page(row).text


def test_every_candidate_has_a_row_with_all_that_is_known_of_it():
    page = shown(record())
    assert [row["id"] for row in page.all("tr") if "id" in row] == [f"candidate-{number}" for number in range(12)]
    line = line_of(record(), 3)
    for known in (
        "#3",
        "38.0%",
        "full",
        "accepted",
        "reflection on 3 examples",
        "#0",
        "50",
        "2 failed",
        "51",
        "$0.0170",
        "2.4 s",
    ):
        assert known in line


def test_the_best_is_marked_and_no_other():
    page = shown(record())
    assert [row["id"] for row in page.all("tr", **{"class": "best"})] == ["candidate-10"]
    assert page.text.count("★ best") == 1


def test_the_star_is_with_what_was_returned():
    page = shown(record(returned="p8"))
    assert [row["id"] for row in page.all("tr", **{"class": "best"})] == ["candidate-8"]
    assert "#8 ★ returned" in line_of(record(returned="p8"), 8)
    assert "★ best" in line_of(record(returned="no candidate"), 10)


def test_a_rejected_one_says_why():
    assert "rejected scored 30.0% on the minibatch, its parent 33.3%" in line_of(record(), 1)


def test_parents_are_links_to_their_rows():
    assert {attrs["href"] for attrs in shown(record()).all("a")} == {f"#candidate-{n}" for n in (0, 2, 3, 5, 7, 8, 10)}


def test_the_calls_of_task_and_reflection_lm_are_told_apart():
    line = line_of(record(), 2)
    assert "51 task 50 · reflection 1" in line
    assert "task" not in line_of(record(), 0)


def test_what_was_tried_is_told_by_what_is_new_since_the_parent():
    demos = [{"text": "a", "topic": "b"}]
    programs = {"p0": program("Sort."), "p1": program("Sort well.", demos), "p2": program("Sort well.", demos)}
    tried = [candidate(n, 1.0 * n, program=f"p{n}", parents=[n - 1] if n else []) for n in range(3)]
    made = record(candidates=tried, programs=programs, before="p0", best=2)
    assert "the program as it was" in line_of(made, 0)
    assert "sort.predict: new instructions, 1 demo" in line_of(made, 1)
    assert "the same as before" in line_of(made, 2)


def test_another_score_of_a_candidate_is_said_to_be_that():
    tried = [candidate(0, 1.0, program="p0"), candidate(1, 2.0, program="p0", kind="minibatch", same_as=0)]
    line = line_of(record(candidates=tried, programs={"p0": program("Sort.")}, before="p0", best=0), 1)
    assert "also scored the same as #0" in line


def test_new_words_for_a_field_are_told():
    programs = {"p0": program("Sort."), "p1": program("Sort.")}
    programs["p1"]["predictors"]["sort.predict"]["fields_said"]["topic"] = {"prefix": "Topic:", "desc": "one word"}
    tried = [candidate(n, 1.0 * n, program=f"p{n}") for n in range(2)]
    made = record(candidates=tried, programs=programs, before="p0", best=1)
    assert "sort.predict: a new description of topic" in line_of(made, 1)


def test_the_first_one_is_the_program_as_it_was_only_if_it_is():
    tried = [candidate(0, 1.0, program="p1"), candidate(1, 2.0, program="p0")]
    programs = {"p0": program("Sort."), "p1": program("Sort well.")}
    made = record(candidates=tried, programs=programs, before="p0", best=1)
    assert "sort.predict: new instructions" in line_of(made, 0)
    assert "the program as it was" in line_of(made, 1)


def test_a_program_that_could_not_be_written_is_said_to_be_missing():
    assert "not written down" in line_of(record(candidates=[candidate(0, 1.0)], best=0), 0)


def test_a_cost_that_nobody_knows_is_no_zero():
    unpriced = record(candidates=[candidate(0, 1.0, usage={"task": usage(5, None)})], best=0)
    assert "$" not in line_of(unpriced, 0)
    free = record(candidates=[candidate(0, 1.0, usage={"task": usage(5, 0.0)})], best=0)
    assert "$0" in line_of(free, 0)


def test_what_nobody_has_counted_is_no_zero():
    line = line_of(record(candidates=[candidate(0, 1.0, usage=None, seconds=None, at=None)], best=0, returned=None), 0)
    assert line.endswith("50 – – – –")
    line = line_of(record(candidates=[candidate(0, 1.0, usage={}, seconds=0.0, at=None)], best=0, returned=None), 0)
    assert line.endswith("50 0 0 – 0.0 s")


def test_of_very_many_the_best_the_first_the_leaders_the_accepted_and_the_newest_are_shown():
    made = long_record(2_000)
    page = shown(made)
    numbers = [int(row["id"].removeprefix("candidate-")) for row in page.all("tr") if "id" in row]
    leaders = {each["number"] for each in made["candidates"] if each["is_best_so_far"]}
    assert len(numbers) == 100
    assert numbers == sorted(numbers)
    assert {0, made["best"], *leaders} <= set(numbers)
    accepted = [number for number in numbers if number not in leaders and number not in (0, made["best"])]
    assert all(made["candidates"][number]["status"] == "accepted" for number in accepted)


def test_none_is_said_to_be_none():
    assert "None was scored." in shown(record(candidates=[])).text
