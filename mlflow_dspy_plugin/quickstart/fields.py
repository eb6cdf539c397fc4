"""The output fields that a DSPy prompt declares: their types, their labels and the simplest values that fit them."""

import json
import re
from dataclasses import dataclass
from typing import Any

QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
LABEL_SET = re.compile(rf"[{{\[(]\s*({QUOTED}(?:\s*,\s*{QUOTED})+)\s*,?\s*[}}\])]")
DECLARATION = re.compile(r"^\d+\. `(\w+)` \((.*?)\):[ \t]*", re.MULTILINE)
NOTE = re.compile(r"\{(\w+)\}\s+# note: the value you produce (.*)")
ONE_OF = re.compile(r"must (?:exactly match \(no extra characters\) one of|be one of): (.*)")
SCHEMA = "must adhere to the JSON schema: "
JSON_STRUCTURE = "Outputs will be a JSON object with the following fields."
EMPTY_VALUES: dict[str, Any] = {
    "string": "", "boolean": False, "integer": 0, "number": 0.0, "array": [], "object": {}, "null": None,
    "bool": False, "int": 0, "float": 0.0, "list": [], "tuple": [], "set": [], "dict": {}, "NoneType": None,
}  # fmt: skip
DEEPEST_SCHEMA = 12


@dataclass(frozen=True)
class Field:
    """An output field, as the prompt declares it."""

    name: str
    type: str
    description: str
    note: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to choose from, sorted; none if the field is free."""
        if self.type == "bool":
            return ("False", "True")
        if self.is_text or self.type.startswith(("Literal[", "Optional[Literal[", "Union[Literal[")):
            listed = labels_in(self.type) or labels_in(self.description)
            return tuple(sorted(set(listed or self._noted_labels())))
        return tuple(sorted(set(self._noted_labels())))

    def _noted_labels(self) -> list[str]:
        listed = ONE_OF.match(self.note)
        return [label.strip() for label in listed[1].split("; ")] if listed else []

    @property
    def is_text(self) -> bool:
        """Whether any text is a valid value."""
        return self.type in ("str", "Reasoning", "Optional[str]", "Union[str, NoneType]", "UnionType[str, NoneType]")

    def value_of(self, label: str) -> Any:
        """Return a label as a value of the field's type."""
        if self.type == "bool":
            return label == "True"
        unquoted_number = label.lstrip("-").isdigit() and re.search(rf"[\[ ]{re.escape(label)}[,\]]", self.type)
        return int(label) if unquoted_number else label

    def empty_value(self) -> Any:
        """Return the simplest value that the field's type allows."""
        if self.note.startswith(SCHEMA):
            schema = _parsed(self.note[len(SCHEMA) :])
            return _simplest(schema, schema, 0)
        return EMPTY_VALUES.get(self.type.partition("[")[0], "")


def labels_in(text: str) -> list[str]:
    """Return the labels of the first set, list or tuple of strings written in a text."""
    found = LABEL_SET.search(text)
    return [re.sub(r"\\(.)", r"\1", label[1:-1]) for label in re.findall(QUOTED, found[1])] if found else []


def declared_names(section: str) -> list[str]:
    """Return the names of the fields that a section of a prompt declares."""
    return [found[1] for found in DECLARATION.finditer(section)]


def read_fields(section: str, structure: str) -> tuple[Field, ...]:
    """Return the output fields of a prompt.

    Args:
        section: The numbered declarations, a name, a type and a description each.
        structure: The text that shows how answers are laid out, with notes about types.
    """
    notes = _read_notes(structure)
    pieces = DECLARATION.split(section)
    return tuple(
        Field(name, kind, description.strip(), notes.get(name, ""))
        for name, kind, description in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True)
    )


def _read_notes(structure: str) -> dict[str, str]:
    layout = _parsed(structure.partition(JSON_STRUCTURE)[2].strip())
    texts = [str(value) for value in layout.values()] if isinstance(layout, dict) else []
    return dict(NOTE.findall("\n".join([structure, *texts])))


def _parsed(text: str) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _simplest(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEEPEST_SCHEMA:
        return ""
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("enum", "anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            first = schema[key][0]
            return first if key == "enum" else _simplest(first, root, depth + 1)
    if "$ref" in schema:
        return _simplest(_referred(str(schema["$ref"]), root), root, depth + 1)
    if isinstance(schema.get("properties"), dict):
        required = [name for name in schema.get("required", []) if name in schema["properties"]]
        return {name: _simplest(schema["properties"][name], root, depth + 1) for name in required}
    return EMPTY_VALUES.get(str(schema.get("type")), "")


def _referred(reference: str, root: Any) -> Any:
    for key in reference.removeprefix("#/").split("/"):
        root = root.get(key) if isinstance(root, dict) else None
    return root
