"""Imports only go down: which rooms of the package may know which."""

import ast
from pathlib import Path

import mlflow_dspy_plugin

ROOT = Path(mlflow_dspy_plugin.__file__).parent
GROUND = {"names", "errors", "redaction", "boundary", "seams"}
# A room -> the rooms below it.
FLOORS = {
    "names": set(),
    "errors": {"redaction"},
    "redaction": set(),
    "boundary": set(),
    "progress": set(),
    "__init__": {"errors", "names"},
    "discovery": {"__init__", "names"},
    "seams": {"boundary", "errors", "names"},
    "entry_points": {"__init__", "discovery", "errors", "genai", "names", "server"},
    "programs": GROUND,
    "needs": GROUND | {"scrubbing"},
    "scrubbing": GROUND,
    "plain": GROUND | {"scrubbing"},
    "prompts": GROUND | {"programs"},
    "packaging": GROUND | {"programs", "needs", "scrubbing", "plain", "prompts"},
    "delivery": GROUND,
    "recording": GROUND | {"delivery"},
    "usage": {"seams"},
    "metering": {"boundary", "seams", "usage"},
    "tracing": GROUND | {"programs", "delivery", "usage"},
    "tracking": GROUND | {"programs", "delivery", "recording", "usage", "metering", "packaging", "tracing"},
    "serving": GROUND | {"packaging", "programs", "prompts", "tracing", "usage", "metering"},
    "genai": GROUND
    | {
        "programs",
        "prompts",
        "plain",
        "tracing",
        "usage",
        "metering",
        "tracking",
        "packaging",
        "serving",
        "recording",
        "delivery",
    },
    "switch": GROUND | {"delivery", "recording", "metering", "tracing", "tracking"},
    "server": GROUND | {"packaging", "programs", "tracing", "usage", "metering", "serving", "switch", "delivery"},
    "quickstart": GROUND,
    "cli": {"__init__", "errors", "progress", "quickstart"},
}


def rooms_imported_by(path: Path) -> set[str]:
    """The rooms that a file names in its imports, wherever in the file they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    ours = [name.split(".")[1:] for name in found if name.split(".")[0] == ROOT.name]
    rooms = {parts[0] if parts else "__init__" for parts in ours}
    return {room if (ROOT / room).is_dir() or (ROOT / f"{room}.py").exists() else "__init__" for room in rooms}


def test_every_room_has_its_floor():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms == set(FLOORS)


def test_imports_only_go_down():
    upward = {
        (str(path.relative_to(ROOT)), room)
        for path in ROOT.rglob("*.py")
        for room in rooms_imported_by(path)
        if room not in FLOORS[path.relative_to(ROOT).parts[0].removesuffix(".py")]
        and room != path.relative_to(ROOT).parts[0].removesuffix(".py")
    }
    assert not upward


def test_only_the_seams_name_what_is_private_in_mlflow_or_dspy():
    private = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("mlflow", "dspy"):
                names = [alias.name for alias in node.names] + node.module.split(".")
                if any(name.startswith("_") for name in names):
                    private.add(path.relative_to(ROOT).parts[0])
    assert private <= {"seams"}
