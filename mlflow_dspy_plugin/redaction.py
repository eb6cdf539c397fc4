"""What must never leave the process: names that hold secrets, and texts that look like one. Pure.

A new kind of secret is one line in a table below, and its example in `tests/test_redaction.py`.
"""

import base64
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

REDACTED = "[REDACTED]"

# Word sequences that make a name secret, each word in the singular. Names are split at `_`, `-`,
# `.`, blanks and humps, so `apiKeys`, `X-Api-Key` and `OPENAI_API_KEY` all hold ("api", "key").
_SECRET_WORDS = (
    ("apikey",),
    ("secret",),
    ("password",),
    ("passwd",),
    ("pwd",),
    ("passphrase",),
    ("credential",),
    ("authorization",),
    ("bearer",),
    ("cookie",),
    ("jwt",),
    ("connection", "string"),
    ("conn", "str"),
)
# What a key opens: a name that has one of these before the word "key" is a secret.
_KEY_WORDS = {
    *("access", "account", "admin", "api", "auth", "encryption", "master", "private", "shared"),
    *("signing", "storage", "subscription", "anthropic", "azure", "cohere", "openai"),
}
# A name that ends in the word "token" is a secret, unless it speaks of the model's vocabulary.
_VOCABULARY_WORDS = {
    *("begin", "bos", "cls", "end", "eos", "image", "mask", "pad", "sep", "special", "start"),
    *("stop", "think", "unk"),
}
# A name that ends in one of these says where a secret is, not what it is (`api_key_env`).
_POINTER_WORDS = {
    *("column", "env", "field", "file", "header", "name", "path", "prefix", "var", "variable"),
}

# The headers of a request that hold no secret; gateways put their keys under any other name.
_PLAIN_HEADERS = {
    *("accept", "accept-encoding", "accept-language", "connection", "content-type", "http-referer"),
    *("anthropic-beta", "anthropic-version", "openai-beta"),
    *("openai-organization", "openai-project", "referer", "traceparent", "user-agent", "x-title"),
}

# What stands for a value that is filled in later: {name}, ${NAME}, $NAME, %(name)s, %s.
_VARIABLE_TEXT = r"(?:\$?\{[^{}@\s]*\}|\$\w+|%\(\w+\)s|%s|<[^<>]*>)+"
# Where a form is short, a digit tells a key from words: "basic requirements" is no authorization.
_SECRET_TEXTS = (
    r"\bsk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"\bhf_[A-Za-z0-9]{30,}",
    r"\bdapi[0-9a-f]{32}\b",
    r"\b(?:gsk_|xai-|pplx-|nvapi-|r8_|csk-|fw_|tgp_v1_|glpat-|github_pat_)(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}",
    r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\bya29\.[A-Za-z0-9_-]{16,}",
    r"\b[Bb]asic\s+(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{12,}={0,2}(?![A-Za-z0-9])",
    r"(?<=AccountKey=)[A-Za-z0-9+/=]{16,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    r"\b[Bb]earer\s+(?=[A-Za-z._~+/=-]*\d)[A-Za-z0-9._~+/=-]{12,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----)?",
    # Not where a variable stands in its place, as in `user:${TOKEN}@host`.
    r"(?<=://)[^/\s:@\"'<>]*:(?!" + _VARIABLE_TEXT + r"@)[^/\s\"'<>]+(?=@)",
    r"(?<=[?&])(?i:[\w-]*(?:api|access|account|auth|shared|storage|subscription)[_-]?key|sig|pwd"
    r"|[\w-]*(?:token|secret|password|signature|credential))=(?!" + _VARIABLE_TEXT + r")[^&#\s\"'<>]{8,}",
    r"(?<=;)(?i:password|pwd|sharedaccesskey|sharedaccesssignature)=(?!" + _VARIABLE_TEXT + r")[^;\s\"'<>]{8,}",
    r"(?<=[?&])(?:key|code)=(?=[^&#\s\"'<>\d]*\d)[^&#\s\"'<>]{8,}",
)
_SECRET_TEXT = re.compile("|".join(_SECRET_TEXTS))
_URL_USER = re.compile(r"(?<=://)" + re.escape(REDACTED) + "@")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Values of secret environment variables that are shorter, or plain words, stand in texts by chance.
_SHORTEST_SECRET = 8
_SURELY_SECRET = 20
# The part of a secret that is the same wherever it is written, and how long it has to be to stand for the whole.
_NOT_QUOTED = re.compile(r"[A-Za-z0-9]+")
_TELLING = 16


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a value of this name (argument, attribute, header, variable) is to be kept secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _POINTER_WORDS:
        return False
    if words[-1] == "token":
        return not (len(words) > 1 and words[-2] in _VOCABULARY_WORDS)
    singular = [word.removesuffix("s") for word in words]
    if words[-1] == "auth" or any(_is_secret_key(*pair) for pair in zip(words, singular[1:], strict=False)):
        return True
    return any(
        tuple(singular[start : start + len(secret)]) == secret
        for secret in _SECRET_WORDS
        for start in range(len(words))
    )


def _is_secret_key(before: str, word: str) -> bool:
    return word == "key" and before in _KEY_WORDS


def redact_text(text: str) -> str:
    """The text with everything that looks like a secret, or a user in a URL, put out of sight."""
    return _URL_USER.sub("", _SECRET_TEXT.sub(REDACTED, text))


def redact_bytes(data: bytes) -> bytes:
    """The same for bytes that are a text; others are as they were."""
    try:
        return redact_text(data.decode()).encode()
    except UnicodeDecodeError:
        return data


def names_headers(name: str) -> bool:
    """Whether a mapping of this name holds the headers of requests."""
    return name.lower().endswith("headers")


def is_plain_header(name: str) -> bool:
    """Whether a header of this name is known to hold no secret."""
    return name.lower() in _PLAIN_HEADERS


def redact_named(values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with the values of secret names and headers put out of sight, at every depth."""
    return {key: _redact_value(str(key), value) for key, value in values.items()}


def _redact_value(name: str, value: Any) -> Any:
    if value is not None and is_secret_name(name):
        return REDACTED
    if isinstance(value, Mapping) and names_headers(name):
        return {header: text if is_plain_header(str(header)) else REDACTED for header, text in value.items()}
    if isinstance(value, Mapping):
        return redact_named(value)
    if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        return [redact_named(item) if isinstance(item, Mapping) else item for item in value]
    return value


def is_text(value: Any) -> bool:
    """Whether the value is a text that could be a secret."""
    return isinstance(value, (str, bytes, bytearray)) and bool(value)


def secret_texts(text: str) -> Iterator[str]:
    """Every part of the text that looks like a secret."""
    yield from _SECRET_TEXT.findall(text)


def is_placeholder(text: str) -> bool:
    """Whether a text stands for a value that is filled in later."""
    return bool(re.fullmatch(_VARIABLE_TEXT, text))


def is_written_in(data: bytes, secret: str) -> bool:
    """Whether a file holds a secret, in any of the ways in which files write texts."""
    return any(form in data for form in _written_forms(secret))


@functools.lru_cache(maxsize=64)
def _written_forms(secret: str) -> frozenset[bytes]:
    """A secret as it is, quoted as in JSON, YAML, Python and URLs, in wide characters, and in base64."""
    core = max(_NOT_QUOTED.findall(secret), key=len, default="")
    # A long part that no quoting changes tells enough. JSON and YAML write line breaks in ways of their own.
    text = core if len(core) >= _TELLING and is_distinctive(core) else max(secret.splitlines(), key=len)
    encodings = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")
    wide = [text.encode(encoding, "surrogatepass") for encoding in encodings]
    quoted = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], ascii(text)[1:-1]}
    quoted |= {text.replace("'", "''"), quote(text, errors="replace"), quote(text, safe="", errors="replace")}
    plain = {each.encode("utf-8", "surrogatepass") for each in quoted}
    return frozenset(plain.union(wide, *map(_in_base64, wide)))


def _in_base64(data: bytes) -> set[bytes]:
    """What base64 makes of bytes that begin at any place of a group of three; what depends on others is cut off."""
    found = set()
    for before in range(3):
        text = base64.b64encode(bytes(before) + data)[4 if before else 0 : (before + len(data)) // 3 * 4]
        found |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def environment_secrets() -> dict[str, str]:
    """The variables of the environment whose name says that their value is a secret."""
    return {
        name: value
        for name, value in os.environ.items()
        # The working folder of a shell, no password.
        if name != "PWD" and is_secret_name(name) and is_distinctive(value)
    }


def environment_variable_of(value: str) -> str | None:
    """The environment variable that holds this secret; None where none does, or it may be by chance."""
    if not is_distinctive(value):
        return None
    holding = [name for name, text in os.environ.items() if text == value]
    return min(holding, key=lambda name: (not is_secret_name(name), name), default=None)


def is_distinctive(text: str) -> bool:
    """Whether a secret is too long or too mixed to stand in other texts by chance."""
    mixed = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
    return len(text) >= (_SHORTEST_SECRET if mixed else _SURELY_SECRET)
