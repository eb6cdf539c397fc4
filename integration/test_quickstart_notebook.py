"""MLflow's DSPy quickstart notebook on Reuters R8, from the first cell to a served model."""

import json
import re
from collections import Counter

import pytest

from integration.conftest import CANARY_KEY

PREDICTION = re.compile(r"-+(?:Original DSPy|Loaded DSPy|PyFunc) Prediction-+\n(.+)")
ACCURACY = re.compile(r"(Uncompiled|Compiled) accuracy: (.+)")
LABELS = {"acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade"}
# Outside of the compile the notebook calls a program twice to say hello, once for each of eight
# documents before and after, and three times at the end.
CALLS_TRACED = 2 + 8 + 8 + 3

# The model was logged with a bare string. MLflow's scoring server wants such a model's input
# unnamed under "inputs", and takes its name in a table.
FORMS = {
    "text": lambda text: {"inputs": text},
    "list": lambda text: {"inputs": [text]},
    "records": lambda text: {"dataframe_records": [{"text": text}]},
    "split": lambda text: {"dataframe_split": {"columns": ["text"], "data": [[text]]}},
}


@pytest.fixture(scope="module")
def notebook(run_program, reuters, lm_server):
    """The notebook, run to its end; the key is typed in as it asks for it."""
    return run_program("quickstart_notebook", stdin=f"{CANARY_KEY}\n", LM_URL=lm_server, REUTERS_R8=reuters)


def test_the_notebook_runs_on_24_training_and_8_test_documents(notebook):
    assert "24 8\nTrain labels: {" in notebook.printed
    assert len(notebook.result["texts"]) == 8


def test_both_accuracies_are_shares_of_the_test_documents(notebook):
    accuracies = {name: float(value) for name, value in ACCURACY.findall(notebook.printed)}
    assert accuracies.keys() == {"Uncompiled", "Compiled"}
    assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())


def test_the_original_the_loaded_and_the_pyfunc_model_predict_the_same_label(notebook):
    predictions = PREDICTION.findall(notebook.printed)
    assert len(predictions) == 3
    assert len(set(predictions)) == 1
    assert predictions[0] in LABELS


def test_every_call_outside_the_compile_is_one_whole_trace(notebook, tracking_server):
    traces = tracking_server.traces("DSPy Quickstart")
    assert [trace.info.state for trace in traces] == ["OK"] * CALLS_TRACED
    shapes = Counter(tuple(span.span_type for span in trace.data.spans) for trace in traces)
    assert len(shapes) == 1, shapes


def test_nothing_fails_behind_the_notebook(notebook):
    assert "Traceback" not in notebook.warned, notebook.warned


def test_a_fresh_process_loads_the_program_with_its_language_model(notebook, run_program, lm_server):
    inputs = json.dumps([{"text": text} for text in notebook.result["texts"]])
    loaded = run_program("load_model", MODEL_URI=notebook.result["model_uri"], INPUTS=inputs)
    assert loaded.result["lm"] == {
        "model": "openai/in-context-classifier",
        "api_base": lm_server,
        "max_tokens": 500,
        "temperature": 0.1,
    }
    assert [output["label"] for output in loaded.result["outputs"]] == notebook.result["labels"]


def test_the_served_model_gives_the_labels_of_the_dspy_object(notebook, served_model):
    with served_model(notebook.result["model_uri"]) as invoke:
        answers = {
            form: [invoke(payload(text)) for text in notebook.result["texts"]] for form, payload in FORMS.items()
        }
    expected = [{"predictions": {"label": label}} for label in notebook.result["labels"]]
    assert answers == dict.fromkeys(FORMS, expected)


def test_the_key_is_nowhere_in_what_the_server_stores(notebook, tracking_server):
    # What was logged is found, so the key would be.
    assert "mlflow.db" in tracking_server.files_holding("I am interested in space")
    assert "MLmodel" in tracking_server.files_holding("mlflow_dspy_plugin")
    assert tracking_server.files_holding(CANARY_KEY) == []
