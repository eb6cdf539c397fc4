"""The family tree says which candidate was made from which."""

import re

from mlflow_dspy_plugin.tracking.report.lineage import lineage
from tests.tracking.records import candidate, long_record, record
from tests.tracking.report.reader import Page


def test_each_candidate_is_a_node_and_each_parent_an_edge():
    page = Page(lineage(record()))
    assert page.classes("node") == 12
    assert page.classes("edge") == sum(len(each["parents"]) for each in record()["candidates"])
    assert page.classes("second") == 1


def test_the_line_of_the_best_is_told_and_drawn():
    page = Page(lineage(record()))
    line = "#0 (31.0%) → #2 (40.0%) → #5 (46.0%) → #8 (52.0%) → #10 (56.0%)"
    assert f"The best came down this line: {line}" in page.text
    assert page.classes("descent") == 4
    assert "#10: 56.0%, full, accepted, the best" in page.text


def test_the_line_of_what_was_returned_is_told_where_it_is_not_the_best():
    line = "#0 (31.0%) → #2 (40.0%) → #5 (46.0%) → #8 (52.0%)"
    assert f"What was returned came down this line: {line}." in Page(lineage(record(returned="p8"))).text


def test_a_merge_in_the_line_of_the_best_is_told():
    assert "Merged from several: #7." in Page(lineage(record(best=7, returned="p7"))).text


def test_no_tree_is_drawn_where_none_was_made_from_another():
    assert lineage(record(candidates=[candidate(number, 1.0) for number in range(5)], best=0)) is None
    assert lineage(record(candidates=[])) is None


def test_a_parent_that_is_not_there_or_came_later_is_no_parent():
    tried = [candidate(0, 1.0, parents=[1]), candidate(1, 2.0, parents=[0, 1, 77])]
    page = Page(lineage(record(candidates=tried, best=1)))
    assert page.classes("edge") == 1


def test_a_candidate_that_was_scored_twice_is_one_node_with_the_parents_and_children_of_both():
    tried = [
        candidate(0, 1.0),
        candidate(1, 2.0, kind="minibatch", parents=[0], same_as=4),
        candidate(2, 3.0, kind="minibatch", same_as=0),
        candidate(3, 4.0, kind="minibatch", parents=[1]),
        candidate(4, 5.0),
    ]
    page = Page(lineage(record(candidates=tried, best=4, returned=None)))
    assert (page.classes("node"), page.classes("edge")) == (3, 2)
    assert "#0 (1.0%) → #4 (5.0%)" in page.text


def test_scores_of_one_candidate_that_come_from_each_other_make_no_circle():
    tried = [
        candidate(0, 1.0, same_as=2),
        candidate(1, 2.0, parents=[0]),
        candidate(2, 3.0, parents=[1]),
    ]
    page = Page(lineage(record(candidates=tried, best=2, returned=None)))
    assert (page.classes("node"), page.classes("edge")) == (2, 1)


def test_no_two_nodes_stand_in_one_place():
    page = Page(lineage(record()))
    places = [(circle["cx"], circle["cy"]) for circle in page.all("circle")]
    assert len(set(places)) == 12


def test_of_very_many_the_family_of_the_best_is_drawn():
    made = long_record(2_000)
    page = Page(lineage(made))
    assert 2 <= page.classes("node") <= 60
    assert "of other branches are left out" in page.text
    assert re.search(rf"#{made['best']}: .*, the best", page.text)


def test_a_descent_of_a_thousand_generations_is_cut():
    tried = [candidate(number, float(number), parents=[number - 1] if number else []) for number in range(1_000)]
    page = Page(lineage(record(candidates=tried, best=999)))
    assert page.classes("node") == 60
    assert "#0 (0) → #1 (1) → … → #991 (991)" in page.text
