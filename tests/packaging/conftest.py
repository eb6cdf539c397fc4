"""Modules of the user's own, on the path for one test, for the scripts that are models; and models of strangers."""

from tests.needs.conftest import module, on_path  # noqa: F401
from tests.packaging.hostile import folders, strangers  # noqa: F401
