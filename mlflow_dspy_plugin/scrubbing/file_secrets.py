"""Refuses files to be shipped that hold a secret: source, configurations and other texts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mlflow_dspy_plugin.redaction import is_distinctive, is_placeholder, is_secret_name
from mlflow_dspy_plugin.scrubbing.code_secrets import refuse_secret_texts, refuse_secrets_in_source

_TREES = {".json", ".yaml", ".yml"}
_LINES = {".cfg", ".conf", ".env", ".ini", ".properties", ".toml"}
_LINE = re.compile(r"^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*[=:][ \t]*(.+?)[ \t]*$", re.MULTILINE)


def refuse_secrets_in_file(path: Path, what: str) -> None:
    """Refuse a file that holds what looks like a secret, or gives one to a name that says so.

    Args:
        path: The file.
        what: What it is, for the error.

    Raises:
        SecretError: Naming the file, never the value.
    """
    text = path.read_text(encoding="utf-8", errors="ignore")
    if path.suffix == ".py":
        refuse_secrets_in_source(text, what)
    else:
        named = any(is_secret_name(n) and is_distinctive(v) and not is_placeholder(v) for n, v in _named_in(path, text))
        refuse_secret_texts(text, what, named)


def _named_in(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """The texts to which a configuration gives a name."""
    if path.suffix in _TREES:
        try:
            yield from _named_in_tree(yaml.safe_load(text))
        except (yaml.YAMLError, ValueError, RecursionError):
            return
    elif path.suffix in _LINES or path.name.startswith(".env"):
        for name, value in _LINE.findall(text):
            yield name, value.strip("\"'")


def _named_in_tree(tree: Any) -> Iterator[tuple[str, str]]:
    """What stands in a list is data, whose names tell nothing."""
    for name, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, str):
            yield str(name), value
        yield from _named_in_tree(value)
