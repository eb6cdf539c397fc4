"""What every golden model goes through before it is kept: no file that nothing reads, no trace of a machine or a key."""

import getpass
import os
import re
from pathlib import Path

import pydantic.main

NOT_READ = ("conda.yaml", "python_env.yaml", "input_example.json", "serving_input_example.json")
MOST_BYTES = 60_000
# The beginnings of absolute paths, POSIX and Windows.
PLACES = re.compile(rb"/(?:home|root|Users|tmp|var|usr|opt|work)/|[A-Z]:\\\\|site-packages")


def leave_out_places() -> None:
    """Have cloudpickle write no absolute path: a signature holds a function of pydantic's, and its file."""
    function = pydantic.BaseModel.__get_pydantic_json_schema__.__func__
    function.__code__ = function.__code__.replace(co_filename="pydantic/main.py")
    pydantic.main.__file__ = "pydantic/main.py"


def tidy(folder: Path) -> None:
    """Remove what loading does not read, and refuse what must not be kept.

    Raises:
        ValueError: If the folder is large, or a file holds a key, a path or a user's name.
    """
    for name in NOT_READ:
        (folder / name).unlink(missing_ok=True)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if (size := sum(map(len, files.values()))) > MOST_BYTES:
        raise ValueError(f"{folder} has {size} bytes; make a smaller program.")
    for path, data in files.items():
        private = re.compile(rb"\b(?:%s|%s)\b" % (os.environ["OPENAI_API_KEY"].encode(), getpass.getuser().encode()))
        if found := [*PLACES.findall(data), *private.findall(data)]:
            raise ValueError(f"{path} holds {found}.")
