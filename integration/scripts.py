"""Runs a script in a process of its own, as a user would, with the tests' fakes at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = "RESULT "


def run_script(folder: Path, source: str, *, seconds: float = 120, **environment: str) -> Any:
    """Run the source as `__main__` in the folder; what it passes to `report` comes back through JSON."""
    script = folder / "script.py"
    script.write_text(f"import json\ndef report(value): print({RESULT!r} + json.dumps(value))\n{source}")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    results = [line.removeprefix(RESULT) for line in done.stdout.splitlines() if line.startswith(RESULT)]
    assert done.returncode == 0 and results, done.stderr
    return json.loads(results[-1])
