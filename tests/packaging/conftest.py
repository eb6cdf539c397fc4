"""Modules of the user's own, on the path for one test, for the scripts that are models."""

from tests.needs.conftest import module, on_path  # noqa: F401
