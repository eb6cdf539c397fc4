"""What has become of the traces, and what it has cost."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Report:
    """Figures of this process.

    Attributes:
        written: Traces that the store has taken.
        waiting: Traces in memory.
        spooled: Traces on disk that this process will send, those of processes that died among them.
        dropped: Traces that are lost: the store rejected them, or the spool was full.
        spool_bytes: The size of the spool on disk, of all processes.
        cpu_seconds: The processor time of the threads that deliver.
        seconds: The time for which they were busy.
    """

    written: int = 0
    waiting: int = 0
    spooled: int = 0
    dropped: int = 0
    spool_bytes: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Report") -> "Report":
        return Report(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Report)))
