"""Follows the aliases that models are served by: where one has moved, its version takes over once it has shown itself.

The old version answers until then, and after that whoever it has begun to answer. One that fails leaves the old one
where it is, and is tried again later.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import mlflow

from mlflow_dspy_plugin.boundary import attempt, warn
from mlflow_dspy_plugin.redaction import redact_text

_BY_ALIAS = re.compile(r"models:/+(?P<model>[^/@]+)@(?P<alias>[^/@]+)")
# Seconds after which a version that goes on failing is tried again, at the latest: each try costs what loading does.
_RAREST = 300.0
_SHOWN_CHARACTERS = 500


@dataclass(frozen=True)
class Followed:
    """A registered model that is served by an alias.

    Attributes:
        name: What it is served as.
        model: Its name in the registry.
        alias: The alias.
    """

    name: str
    model: str
    alias: str

    def version(self) -> str:
        """The version that the alias is at now."""
        return str(mlflow.MlflowClient().get_model_version_by_alias(self.model, self.alias).version)

    def uri_of(self, version: str) -> str:
        """The URI of a version, wherever the alias goes meanwhile."""
        return f"models:/{self.model}/{version}"


@dataclass(frozen=True)
class Refused:
    """A version that could not take over.

    Attributes:
        version: Which.
        reason: Why, without secrets.
        tries: How often it was tried.
        again_at: When it is tried again, by the clock of the follower.
    """

    version: str
    reason: str
    tries: int
    again_at: float


def followed_among(models: Mapping[str, str]) -> Iterator[Followed]:
    """Those of these models, URIs by their names, that are served by an alias."""
    for name, uri in models.items():
        if found := _BY_ALIAS.fullmatch(uri):
            yield Followed(name, found["model"], found["alias"])


class Follower:
    """Looks where the alias of one model is.

    Args:
        followed: The model.
        serving: Tells the version that is served.
        take_over: Loads a version, tries it and has it served; what it raises, it was refused for.
        note: Is told what a version was refused for, and None once the alias is at one that is served.
        every: Seconds between two looks.
        clock: Tells the time.

    Attributes:
        refused: The version that could not take over, if the alias is at one.
        refusals: How many times versions could not take over.
        unseen: Why the alias cannot be seen, if it cannot.
    """

    def __init__(
        self,
        followed: Followed,
        serving: Callable[[], str | None],
        take_over: Callable[[str], None],
        note: Callable[[str, BaseException | None], None],
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.followed, self._serving, self._take_over = followed, serving, take_over
        self._note, self._every, self._clock = note, every, clock
        self.refused: Refused | None = None
        self.refusals = 0
        self.unseen: str | None = None

    def look(self) -> None:
        """Look once, and have the version that the alias is at take over unless it serves already."""
        version = attempt(self.followed.version, self._not_seen)
        if version is None:
            return
        if self.unseen is not None:
            self.unseen = None
            warn("The registry tells again where %s is.", self._what)
        if version == self._serving():
            self._rest(version)
        elif self._is_due(version):
            attempt(lambda: self._bring(version), lambda error: self._refuse(version, error))

    @property
    def _what(self) -> str:
        return f"{self.followed.model}@{self.followed.alias}"

    def _is_due(self, version: str) -> bool:
        before = self.refused
        return before is None or before.version != version or self._clock() >= before.again_at

    def _bring(self, version: str) -> None:
        before = self._serving()
        self._take_over(version)
        self._rest(version)
        warn("%s is served in version %s now, and was in %s.", self._what, version, before)

    def _rest(self, version: str) -> None:
        if self.refused is not None:
            self.refused = None
            self._note(version, None)

    def _refuse(self, version: str, error: BaseException) -> None:
        again = self.refused is not None and self.refused.version == version
        tries = self.refused.tries + 1 if again else 1
        self.refusals += 1
        # What is doubled for ever would be no number some day.
        wait = min(self._every * 2 ** min(tries, 16), _RAREST)
        self.refused = Refused(version, _reason(error), tries, self._clock() + wait)
        self._note(version, error)
        if not again:
            warn(
                "%s has moved to version %s, which cannot be served: %s. Version %s goes on; the other is tried again.",
                *(self._what, version, self.refused.reason, self._serving()),
            )

    def _not_seen(self, error: BaseException) -> None:
        if self.unseen is None:
            warn("The registry does not tell where %s is: %s. What is served goes on.", self._what, _reason(error))
        self.unseen = _reason(error)


class Following:
    """Has followers look, in a thread of its own: a registry that is down holds it up, and nobody else.

    Args:
        followers: Who looks.
        every: Seconds between two looks.
    """

    def __init__(self, followers: Sequence[Follower], every: float) -> None:
        self.followers, self._every = tuple(followers), every
        self._ended = threading.Event()
        # The process may end while it waits for the registry.
        self._thread = threading.Thread(target=self._look, name="mlflow-dspy-following", daemon=True)

    def start(self) -> None:
        """Begin to look; where there is nobody to look, or no time to, nothing happens."""
        if self.followers and self._every:
            self._thread.start()

    def stop(self) -> None:
        """Look no more. One who is looking now finds that out by the end."""
        self._ended.set()

    def of(self, name: str) -> Follower | None:
        """Who follows the alias of a served model, if it is served by one."""
        return next((each for each in self.followers if each.followed.name == name), None)

    def _look(self) -> None:
        while not self._ended.wait(self._every):
            for each in self.followers:
                if not self._ended.is_set():
                    each.look()


def _reason(error: BaseException) -> str:
    """What an error says, as others may see it."""
    return redact_text(f"{type(error).__name__}: {error}")[:_SHOWN_CHARACTERS]
