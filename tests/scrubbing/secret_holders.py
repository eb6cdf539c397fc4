"""Objects in which the tests of secrets put them; in a file of its own, which imports little: saving looks at it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import dspy
import pydantic


class Slots(pydantic.BaseModel):
    """A pydantic value with a private attribute."""

    host: str = "h"
    _api_key: str = pydantic.PrivateAttr("")


class Vault(pydantic.BaseModel):
    """A pydantic value with a field that hides its value from prints."""

    key: pydantic.SecretStr


@dataclass
class Account:
    """A value of the user's."""

    region: str = "eu"
    password: Any = None
    notes: Any = None


@dataclass(frozen=True)
class Frozen:
    """A value that cannot be changed."""

    password: str


@dataclass(frozen=True, slots=True)
class FrozenAccount:
    """The same, with slots."""

    password: str


class Slotted:
    """An object without a `__dict__`."""

    __slots__ = ("password",)

    def __init__(self, password: str):
        self.password = password


class Settings(pydantic.BaseModel):
    """A pydantic value with a secret of each kind."""

    token: str
    secret: pydantic.SecretStr
    _api_key: str = pydantic.PrivateAttr()


class Keys(dict):
    """A dict of the user's own class."""


class Login(NamedTuple):
    """A named tuple."""

    host: str
    password: str


class Client:
    """An object of no class that programs are made of."""

    def __init__(self, **attributes: Any):
        vars(self).update(attributes)

    def ask(self, city: str) -> str:
        """Ask it."""
        return city


class Adapter(dspy.ChatAdapter):
    """An adapter with attributes of its own."""

    def __init__(self, **attributes: Any):
        super().__init__()
        vars(self).update(attributes)


class Retriever(dspy.Retrieve):
    """A retriever with attributes of its own."""

    def __init__(self, **attributes: Any):
        super().__init__()
        vars(self).update(attributes)


class Dumping(dspy.BaseLM):
    """A language model that says by itself what it is made of."""

    def __init__(self, model: str, **said: Any):
        super().__init__(model)
        self.said = said

    def dump_state(self) -> dict[str, Any]:
        return {"model": self.model, **self.said}

    @classmethod
    def load_state(cls, state: dict[str, Any], **_: Any) -> "Dumping":
        return cls(**state)

    def copy(self, **_: Any) -> "Dumping":
        return Dumping(self.model, **self.said)


class Engine:
    """An engine of language models (dspy >= 3.4) that can be made again."""

    def __init__(self, **said: Any):
        self.said = said

    def complete(self, request: Any) -> Any:
        raise NotImplementedError

    def dump_state(self) -> dict[str, Any]:
        return {"said": self.said}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "Engine":
        return cls(**state["said"])


def weather(city: str, api_key: str = "") -> str:
    """The weather of a city."""
    return city


class Watch(dspy.utils.BaseCallback):
    """A callback that knows a secret."""

    def __init__(self, secret: str):
        self.secret = self.note = secret
