"""What processes have used of the CPU, as /proc tells it."""

import os
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_session(leader: int) -> float:
    """What the processes of a session have used, those among them that have ended included."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold spaces; after it: state, parent, group, session.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has ended since.
            continue
        if int(fields[3]) == leader:
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / _TICKS_A_SECOND
