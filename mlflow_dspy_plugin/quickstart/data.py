"""Labelled texts to try an optimizer on: the news sample of this package, or a file of the user's own."""

import csv
import random
from collections import Counter, defaultdict
from pathlib import Path

import dspy

from mlflow_dspy_plugin.errors import InputError

NEWS = Path(__file__).with_name("news.tsv")
COLUMNS = ("label", "text")
FEWEST_ROWS_A_LABEL = 4


def read_rows(path: str | Path | None = None) -> list[dspy.Example]:
    """Return the rows of a tab-separated file with the columns `label` and `text`, in the order of the file.

    Args:
        path: The file, UTF-8 with a header line; the news sample of this package if None.

    Raises:
        InputError: The file is missing, has no such columns, or too few rows or labels to learn from.
    """
    path = NEWS if path is None else Path(path)
    rows = [(label.strip(), text.strip()) for label, text in _read_pairs(path)]
    rows = [row for row in rows if all(row)]
    _check_labels(path, Counter(label for label, _ in rows))
    return [dspy.Example(text=text, label=label).with_inputs("text") for label, text in rows]


def split(examples: list[dspy.Example], seed: int = 0) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Return two shuffled halves, one to train on and one unseen, with every label in both.

    Args:
        examples: Examples with a `label`, at least two of each.
        seed: Which halves to choose.

    Raises:
        InputError: A label has only one example.
    """
    by_label: dict[str, list[dspy.Example]] = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    chance = random.Random(seed)
    train: list[dspy.Example] = []
    unseen: list[dspy.Example] = []
    for label, group in by_label.items():
        if len(group) < 2:
            raise InputError(f"The label {label!r} has one row, which cannot be in both halves. Add a row with it.")
        chance.shuffle(group)
        train += group[: len(group) // 2]
        unseen += group[len(group) // 2 :]
    chance.shuffle(train)
    chance.shuffle(unseen)
    return train, unseen


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise InputError(f"There is no file {str(path)!r}. Give the path of a tab-separated file.")
    try:
        # Quotes are plain characters here: a text may open one and never close it.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{str(path)!r} cannot be read as tab-separated UTF-8 text ({error}). Save it as such."
        ) from error
    if not rows:
        raise InputError(f"{str(path)!r} has no rows. Write a header line {_header()} and a row for each text.")
    missing = [name for name in COLUMNS if name not in rows[0]]
    if missing:
        found = [name for name in rows[0] if name]
        raise InputError(
            f"{str(path)!r} has the columns {found}, without {missing}. Its first line has to be {_header()}."
        )
    return [(row["label"] or "", row["text"] or "") for row in rows]


def _check_labels(path: Path, rows_by_label: Counter[str]) -> None:
    if len(rows_by_label) < 2:
        raise InputError(
            f"{str(path)!r} has {len(rows_by_label)} label(s): {sorted(rows_by_label)}. "
            "There has to be a choice: add rows with a second label."
        )
    rare = {label: count for label, count in rows_by_label.items() if count < FEWEST_ROWS_A_LABEL}
    if rare:
        raise InputError(
            f"{str(path)!r} has too few rows for some labels: {rare}. "
            f"Add rows until each label has {FEWEST_ROWS_A_LABEL}, or remove these."
        )


def _header() -> str:
    return repr("\t".join(COLUMNS))
