"""Canaries: secrets of three kinds, and how to find one in files and in what was printed."""

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path

# In every canary, and not changed by any way of quoting. Put together here: no text of this file is a secret.
CORE = "".join(["4c0ffee7", "f3a4c0ffee", "5ca1ab1e"])
VARIABLE = "SOME_SERVICE_TOKEN"
CANARIES = {
    "of no form": f'canary"{CORE}\\é/+=',
    "of a known form": f"sk-proj-{CORE}",
    "of the environment": f"pa'ss\"{CORE}é%\\",
}


def forms_of_the_core() -> Iterator[bytes]:
    """The core of a canary, in each way in which files, texts and numbers of code units are written."""
    for text in (CORE.encode(), CORE.encode("utf-16-le")[:-1], CORE.encode("utf-32-le")[:-3]):
        yield text
        yield text.hex().encode()
        for before, encode in itertools.product(range(3), (base64.b64encode, base64.urlsafe_b64encode)):
            # What a group of three bytes shares with those around it is cut off.
            start, end = (4 if before else 0), (len(text) + before) // 3 * 4
            yield encode(bytes(before) + text)[start:end]


FORMS = sorted(set(forms_of_the_core()))


def holds_canary(data: bytes) -> bool:
    return any(form in data for form in FORMS)


def files_with_canary(folder: str | Path) -> list[str]:
    return [str(path) for path in Path(folder).rglob("*") if path.is_file() and holds_canary(path.read_bytes())]
