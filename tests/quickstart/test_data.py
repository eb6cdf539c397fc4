"""Rows are read, checked with clear errors, and split."""

from collections import Counter

import pytest

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.quickstart.data import read_rows, split

HEADER = "label\ttext\n"


def write(tmp_path, text):
    path = tmp_path / "rows.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(**counts):
    return HEADER + "".join(f"{label}\ttext {n}\n" for label, count in counts.items() for n in range(count))


def test_the_news_sample_has_thirty_different_rows_for_each_of_six_labels():
    rows = read_rows()
    assert Counter(row.label for row in rows) == dict.fromkeys(
        ["sport", "science", "business", "health", "travel", "food"], 30
    )
    assert len({row.text for row in rows}) == 180


def test_a_row_is_an_example_whose_input_is_the_text(tmp_path):
    row = read_rows(write(tmp_path, rows_of(a=4, b=4)))[0]
    assert row.inputs().toDict() == {"text": "text 0"}
    assert row.labels().toDict() == {"label": "a"}


def test_quotes_other_columns_and_incomplete_rows_do_no_harm(tmp_path):
    text = (
        "id\tlabel\ttext\n" + "".join(f'{n}\t{"ab"[n % 2]}\tHe said "no {n}\n' for n in range(8)) + "8\ta\n9\t\tx\n\n"
    )
    rows = read_rows(str(write(tmp_path, text)))
    assert [row.text for row in rows] == [f'He said "no {n}' for n in range(8)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"rows\.tsv' has no rows\. Write a header line 'label\\ttext'"),
        (HEADER, r"rows\.tsv' has no rows"),
        ("kind\ttext\na\tb\n", r"has the columns \['kind', 'text'\], without \['label'\]"),
        (rows_of(a=9), r"has 1 label\(s\): \['a'\]\. There has to be a choice"),
        (rows_of(a=9, b=3), r"too few rows for some labels: \{'b': 3\}\. Add rows until each label has 4"),
    ],
)
def test_a_file_to_learn_nothing_from_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_rows(write(tmp_path, text))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no file '.*none\.tsv'\. Give the path"):
        read_rows(tmp_path / "none.tsv")


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "latin.tsv"
    path.write_bytes("label\ttext\na\té\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as tab-separated UTF-8 text"):
        read_rows(path)


def test_a_split_has_half_of_each_label_on_either_side_and_no_row_on_both():
    train, unseen = split(read_rows(), seed=1)
    assert Counter(row.label for row in train) == Counter(row.label for row in unseen)
    assert not {row.text for row in train} & {row.text for row in unseen}
    assert len(train) + len(unseen) == 180


def test_the_seed_alone_decides_a_split():
    rows = read_rows()
    assert split(rows, 1) == split(rows, 1) != split(rows, 2)


def test_a_label_with_one_row_cannot_be_split(tmp_path):
    rows = read_rows(write(tmp_path, rows_of(a=4, b=4)))[:5]
    with pytest.raises(InputError, match="The label 'b' has one row"):
        split(rows)
