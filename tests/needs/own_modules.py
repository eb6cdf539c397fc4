"""Programs in modules of the user's own, and packages as pip installs them, as files."""

from collections.abc import Mapping
from pathlib import Path


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, with these files in it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def install(site: Path, name: str, files: Mapping[str, str], **metadata: str) -> None:
    """Lay out an installed distribution, as pip does it; `metadata` are further files beside its METADATA."""
    beside = {f"{key}.json": text for key, text in metadata.items()}
    info = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n", **beside}
    laid_out = {**files, **{f"{name.replace('-', '_')}-1.5.dist-info/{key}": text for key, text in info.items()}}
    written(site, laid_out)
    record = "".join(f"{path},,\n" for path in laid_out)
    (site / f"{name.replace('-', '_')}-1.5.dist-info" / "RECORD").write_text(record)


def program_in(source: str) -> str:
    """The source of a module with a program called `Program`; the source given comes before it."""
    return f"""
import dspy
{source}

class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.answer(question=question)
"""
