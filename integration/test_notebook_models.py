"""Programs whose classes stand in a notebook or a script travel: as source where that can be had, else pickled.

Each is saved, loaded in the same process, loaded in a fresh one elsewhere that refuses pickles, saved again there,
and loaded once more.
"""

import json
import re
import shutil

import pytest

from integration.conftest import ROOT
from integration.notebook_cases import CASES, EDITED, PICKLE, PICKLED, PLAIN, REFUSED
from integration.processes import PYTHON, run

PROGRAMS = [pytest.param(how, name, id=f"{how}: {name}") for how in CASES for name in CASES[how]]
SAVED = [each for each in PROGRAMS if each.values[1] not in REFUSED]
CANARIES = (b"canary-7f3b9a1c5d2e4f6a8b", b"sk-canary-1a2b3c4d5e6f7a8b9c0d")


@pytest.fixture(scope="module")
def lives(environment, tmp_path_factory):
    """What each program did, by how it was run: saved, loaded elsewhere, and loaded once more."""

    def step(what, how, models, place):
        result = place / f"{what}-{how}.json"
        options = {"PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": str(what == "save").lower()}
        command = [PYTHON, "-m", "integration.notebook_process", what.split("-")[0], how, models, result]
        run(command, place, environment={**environment, **options}, seconds=300)
        return json.loads(result.read_text())

    def live(how):
        home, elsewhere = tmp_path_factory.mktemp(f"home-{how}"), tmp_path_factory.mktemp(f"elsewhere-{how}")
        (home / "models").mkdir()
        saved = step("save", how, home / "models", home)
        shutil.move(home / "models", elsewhere / "models")
        shutil.rmtree(home)
        held = [path for path in (elsewhere / "models").rglob("*/*") if path.is_file()]
        leaks = [str(path) for path in held if any(canary in path.read_bytes() for canary in CANARIES)]
        loaded = step("load", how, elsewhere / "models", elsewhere)
        again = step("load-again", how, elsewhere / f"load-{how}", elsewhere)
        return {"saved": saved, "loaded": loaded, "again": again, "files": len(held), "leaks": leaks}

    return {how: live(how) for how in CASES}


@pytest.mark.parametrize(("how", "name"), PROGRAMS)
def test_it_answers_as_written_before_it_is_saved(lives, how, name):
    assert lives[how]["saved"][name]["told"] == CASES[how][name].told


@pytest.mark.parametrize(("how", "name"), PROGRAMS)
def test_it_is_saved_as_source_or_pickled_with_one_warning_that_says_why(lives, how, name):
    case, saved = CASES[how][name], lives[how]["saved"][name]
    assert saved["saved"] == case.saved, saved["warned"]
    told = [text for text in saved["warned"] if "Left out of the saved model" not in text]
    assert len(told) == (1 if case.reason else 0)
    assert all(re.search(case.reason, text) for text in told), told
    if case.saved == PICKLE:
        assert "Define classes and functions at the top level" in told[0]


@pytest.mark.parametrize(("how", "name"), SAVED)
def test_the_process_that_saved_it_gets_its_own_classes_back(lives, how, name):
    case, saved = CASES[how][name], lives[how]["saved"][name]
    if case.saved != PICKLE:
        assert saved["same class"]
        assert case.of_globals or saved["here"] == {key: saved[key] for key in ("told", "prompts")}


@pytest.mark.parametrize(("how", "name"), SAVED)
def test_a_fresh_process_elsewhere_gets_the_same_answers_by_the_same_prompts(lives, how, name):
    case, saved, loaded = CASES[how][name], lives[how]["saved"][name], lives[how]["loaded"][name]
    assert (loaded["told"], loaded["prompts"]) == (saved["told"], saved["prompts"])
    if case.saved == PICKLE:
        assert "is pickled, and MLFLOW_ALLOW_PICKLE_DESERIALIZATION is false here" in loaded["refused"]
    else:
        assert loaded["refused"] is None


@pytest.mark.parametrize(("how", "name"), SAVED)
def test_what_was_loaded_is_saved_again_and_loads_once_more(lives, how, name):
    case, saved, again = CASES[how][name], lives[how]["saved"][name], lives[how]["again"][name]
    assert lives[how]["loaded"][name]["saved again"] == again["saved again"] == case.saved
    assert (again["told"], again["prompts"]) == (saved["told"], saved["prompts"])


@pytest.mark.parametrize("how", CASES)
def test_of_what_holds_a_secret_nothing_is_written(lives, how):
    assert [lives[how]["saved"][name]["wrote"] for name in REFUSED] == [False] * len(REFUSED)
    assert lives[how]["files"] >= 5 * len({**PLAIN, **PICKLED})
    assert lives[how]["leaks"] == []


def test_edited_scripts_are_among_them(lives):
    assert EDITED.keys() <= lives["script"]["saved"].keys()
