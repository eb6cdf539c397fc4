"""The garbage collector of a server's process."""

import subprocess
import sys

CODE = """
import gc
from mlflow_dspy_plugin.server.memory import settle_memory

before = gc.get_threshold()
settle_memory()
print(gc.get_freeze_count() > 0, gc.get_threshold()[0] > 10 * before[0], gc.get_threshold()[1:] == before[1:])
kept = [[]]
kept.append(kept)
del kept
print(gc.collect() > 0)
"""


def test_what_is_there_is_not_looked_through_again_and_what_comes_is():
    # In a process of its own: it holds for all that is there.
    printed = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["True"] * 4
