"""The learning curve shows each score, the best so far, and where it began."""

import re

from mlflow_dspy_plugin.tracking.report.curve import Scale, curve
from tests.tracking.records import candidate, long_record, record
from tests.tracking.report.reader import Page


def drawn(made):
    return Page(curve(made))


def test_each_score_is_a_dot_that_says_what_it_is():
    page = drawn(record())
    scored = [each for each in record()["candidates"] if each["score"] is not None]
    titles = re.findall(r"#(\d+): ([\d.]+)%, (\w+), (\w+)", page.text)
    assert titles == [(str(each["number"]), f"{each['score']}", each["kind"], each["status"]) for each in scored]
    assert len(page.all("circle", r="4.5")) == len(scored) + 3


def test_a_candidate_without_a_score_is_counted():
    assert "Not drawn: 1 candidate without a score." in drawn(record()).text


def test_minibatch_full_and_training_scores_look_different_and_are_in_the_legend():
    kinds = ("full", "minibatch", "train")
    made = record(candidates=[candidate(number, 10.0 * number, kind=kind) for number, kind in enumerate(kinds)], best=0)
    page = drawn(made)
    for kind, title in zip(kinds, ("full evaluation", "minibatch", "training examples"), strict=True):
        assert page.classes(kind) == 2
        assert title in page.text


def test_the_best_so_far_rises_in_steps_over_the_leaders():
    [path] = drawn(record()).all("path", **{"class": "steps"})
    leaders = [each for each in record()["candidates"] if each["is_best_so_far"]]
    assert [each["number"] for each in leaders] == [0, 2, 5, 8, 10]
    heights = [float(height) for height in re.findall(r"[V ]([\d.]+)", path["d"])]
    assert len(heights) == len(leaders)
    assert heights == sorted(heights, reverse=True)


def test_the_baseline_and_the_best_are_labelled():
    page = drawn(record())
    assert "before 31.0%" in page.text
    assert "best 56.0%" in page.text
    assert len(page.all("line", **{"class": "baseline"})) == 2
    assert "before" not in drawn(record(baseline=None)).text.replace("before –", "")


def test_everything_is_within_the_drawing():
    for low, high in ((0.0, 1e-9), (-5.0, 5.0), (31.0, 31.0), (0.0, 1e6)):
        page = drawn(record(candidates=[candidate(0, low), candidate(1, high)], baseline=low, best=1, best_score=high))
        for dot in page.all("circle"):
            assert 0 <= float(dot["cx"]) <= 1040
            assert 0 <= float(dot["cy"]) <= 340


def test_a_higher_score_is_higher_up():
    scale = Scale(0.0, 100.0, 3)
    assert scale.y(90.0) < scale.y(10.0)
    assert scale.x(0) < scale.x(1) < scale.x(2)


def test_one_candidate_stands_in_the_middle():
    [ring] = drawn(record(candidates=[candidate(0, 31.0)], best=0)).all("circle", **{"class": "ring"})
    assert 400 < float(ring["cx"]) < 640


def test_thousands_of_dots_are_a_few_paths():
    page = drawn(long_record(2_000))
    assert page.classes("many") == 4
    dots = sum(path["d"].count("M") for path in page.all("path") if "many" in path["class"])
    assert dots == 2_000


def test_the_drawing_has_a_name_and_a_description():
    page = drawn(record())
    assert {"role": "img"}.items() <= page.all("svg")[0].items()
    assert "11 scores between 30.0% and 56.0%; before 31.0%, best 56.0%." in page.text
