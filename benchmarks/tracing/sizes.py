"""How much is measured: figures to rely on, or a look at whether it can be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How often what is done.

    Attributes:
        repeat: Sets of processes, one of each contender, for what is measured in rounds.
        rounds: Rounds in which the contenders of a set take turns.
        caller_calls: Calls in a round of `caller`, so few that no queue is told to hurry within them.
        calls: Calls in a round of `contention` and `export`.
        disabled_calls: Calls in a round of `disabled`.
        burst: Calls of `burst`.
        burst_patience: Seconds that `burst` waits where no trace arrives.
        memory: Calls of `memory`.
        memory_samples: How often `memory` looks.
    """

    repeat: int = 3
    rounds: int = 16
    caller_calls: int = 10
    calls: int = 50
    disabled_calls: int = 200
    burst: int = 5_000
    burst_patience: float = 30
    memory: int = 50_000
    memory_samples: int = 10


FULL = Sizes()
QUICK = Sizes(
    repeat=1,
    rounds=2,
    caller_calls=5,
    calls=5,
    disabled_calls=20,
    burst=40,
    burst_patience=10,
    memory=200,
    memory_samples=4,
)
