"""What processes use of the CPU and of memory, as /proc tells it."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds_of_session(leader: int) -> float:
    """What the processes of a session have used, those among them that have ended included."""
    return sum(int(ticks) for fields in _processes(leader) for ticks in fields[11:15]) / _TICKS_A_SECOND


def memory_of_session(leader: int) -> int:
    """The bytes of memory that the processes of a session have now, what they share counted each time."""
    return sum(int(fields[21]) for fields in _processes(leader)) * _PAGE


def _processes(leader: int) -> Iterator[list[str]]:
    """What /proc/<pid>/stat says of the processes of a session, from their states on."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold spaces; after it: state, parent, group, session.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has ended since.
            continue
        if int(fields[3]) == leader:
            yield fields
