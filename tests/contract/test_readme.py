"""The README is true: its map, its commands and the form of its first example."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_its_first_example_has_ten_lines():
    assert len([line for line in blocks("python")[0].splitlines() if line]) <= 10


def test_its_two_commands_are_one_line_each():
    commands = [block for block in blocks("sh") if "venv" in block]
    assert [len(command.splitlines()) for command in commands] == [1, 1]
    assert "mlflow-dspy quickstart" in commands[0] and "pytest" in commands[1]


def test_its_map_names_every_room():
    import mlflow_dspy_plugin

    rooms = {
        path.name + ("/" if path.is_dir() else "")
        for path in Path(mlflow_dspy_plugin.__file__).parent.iterdir()
        if path.name != "__pycache__" and path.suffix in ("", ".py")
    }
    text = README.read_text(encoding="utf-8")
    assert [room for room in rooms if room not in text] == []


def test_its_pictures_are_there_and_are_described():
    pictures = re.findall(r"!\[(.*)\]\((.*)\)", README.read_text(encoding="utf-8"))
    assert pictures
    assert [path for told, path in pictures if not told or not (README.parent / path).is_file()] == []
