"""What an optimizer alone can tell, in order of time."""

from mlflow_dspy_plugin.tracking.report.timeline import timeline
from tests.tracking.records import long_record, record
from tests.tracking.report.reader import Page


def test_notes_are_told_in_their_order_with_their_facts():
    page = Page(timeline(record()))
    assert "Reflection: 2, Pareto front: 2, Budget: 1, Merge: 1." in page.text
    assert "1 min 0 s Merge · candidate #7 of [5, 3] ancestor 0" in page.text
    titles = ("Budget metric calls", "Merge ·", "Pareto front front [2, 5, 8]", "Pareto front front [5, 8, 10]")
    places = [page.text.index(title) for title in titles]
    assert places == sorted(places)


def test_a_candidate_is_a_link_to_its_row():
    assert {attrs["href"] for attrs in Page(timeline(record())).all("a")} == {f"#candidate-{n}" for n in (2, 7, 10)}


def test_a_kind_of_its_own_is_called_by_its_name():
    assert (
        "Demo pool refreshed size 4" in Page(timeline(record(notes=[{"kind": "demo_pool_refreshed", "size": 4}]))).text
    )


def test_of_very_many_the_beginning_and_the_end_are_shown():
    page = Page(timeline(long_record(2_000)))
    assert len(page.all("li")) == 121
    assert "1,880 notes in between are left out here." in page.text


def test_there_is_no_timeline_without_notes():
    assert timeline(record(notes=[])) is None
