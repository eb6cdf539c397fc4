"""What must never leave the process: names that hold secrets, and texts that look like one. Pure.

A new kind of secret is one line in a table below, and its example in `tests/test_redaction.py`.
"""

import base64
import functools
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

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
# Every form begins with letters that are the same in all keys of it, for the search is fast only then. Where a form is
# short, a digit tells a key from words: "basic requirements" is no authorization. What is bounded is bounded so that no
# text makes the search slow.
_WITH_DIGIT = r"(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{16,}"
_JWT_PART = r"[A-Za-z0-9_-]{8,}"
# Keys that are one word of the letters of _WORD_BYTES: what they begin with, and how they go on. None is shorter than
# _SHORTEST_WORD.
_WORDS = (
    (("sk-",), _WITH_DIGIT),
    (("AKIA", "ASIA"), r"[0-9A-Z]{16}\b"),
    (("AIza",), r"[0-9A-Za-z_-]{35}"),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{36,}"),
    (("xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-"), r"[A-Za-z0-9-]{10,}"),
    (("hf_",), r"[A-Za-z0-9]{30,}"),
    (("dapi",), r"[0-9a-f]{32}\b"),
    (("gsk_", "xai-", "pplx-", "nvapi-", "r8_", "csk-", "fw_", "tgp_v1_", "glpat-", "github_pat_"), _WITH_DIGIT),
    (("rk_live_", "rk_test_", "sk_live_", "sk_test_"), r"[A-Za-z0-9]{16,}"),
)
_PEM = r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[\s\S]{0,20000}?-----END [A-Z ]{0,40}PRIVATE KEY-----)?)"
# All others: a character that is rare and a part that each of them has, and the whole, whose group is the secret.
_PHRASES = (
    ("9", "ya29.", r"(ya29\.(?<=\bya29\.)[A-Za-z0-9_-]{16,})"),
    ("a", "asic", r"([Bb]asic(?<=\b[Bb]asic)\s+(?=[A-Za-z+/]{0,200}\d)[A-Za-z0-9+/]{12,}={0,2}(?![A-Za-z0-9]))"),
    ("e", "earer", r"([Bb]earer(?<=\b[Bb]earer)\s+(?=[A-Za-z._~+/=-]{0,200}\d)[A-Za-z0-9._~+/=-]{12,})"),
    ("J", "eyJ", rf"(eyJ(?<=\beyJ){_JWT_PART}\.{_JWT_PART}\.{_JWT_PART})"),
    (
        "K",
        "PRIVATE KEY",
        r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[\s\S]{0,20000}?-----END [A-Z ]{0,40}PRIVATE KEY-----)?)",
    ),
    ("=", "AccountKey=", r"AccountKey=([A-Za-z0-9+/=]{16,})"),
    # Not where a variable stands in its place, as in `user:${TOKEN}@host`.
    ("@", "@", r"://([^/\s:@\"'<>]*:(?!" + _VARIABLE_TEXT + r"@)[^/\s\"'<>]+)(?=@)"),
    (
        *("=", "="),
        r"[?&]((?i:[\w-]*(?:api|access|account|auth|shared|storage|subscription)[_-]?key|sig|pwd"
        r"|[\w-]*(?:token|secret|password|signature|credential))=(?!" + _VARIABLE_TEXT + r")[^&#\s\"'<>]{8,})",
    ),
    (
        "=",
        "=",
        r";((?i:password|pwd|sharedaccesskey|sharedaccesssignature)=(?!" + _VARIABLE_TEXT + r")[^;\s\"'<>]{8,})",
    ),
    ("=", "=", r"[?&]((?:key|code)=(?=[^&#\s\"'<>\d]*\d)[^&#\s\"'<>]{8,})"),
)
_WORD_FORM = re.compile(
    "|".join(
        rf"{re.escape(prefix)}(?<=\b{re.escape(prefix)}){rest}" for prefixes, rest in _WORDS for prefix in prefixes
    )
)
_PHRASE_FORMS = tuple((sign, part, re.compile(form)) for sign, part, form in _PHRASES)
# Which bytes of UTF-8 can stand in a word; a search for many of them in a row is the fastest that there is.
_WORD_BYTES = bytes(45 if re.match(rb"[A-Za-z0-9_-]", bytes([byte])) else 32 for byte in range(256))
_SHORTEST_WORD = 15
_LONG_WORD = b"-" * _SHORTEST_WORD
_URL_PASSWORD = re.compile(r"://[^\s/@:]*:([^\s/@]+)@")
_URL_USER = re.compile(r"://" + re.escape(REDACTED) + "@")

# Where a text gives a value to a name: `"api_key": "a"`, `\"api_key\": \"a\"`, `api_key='a'`, `API_KEY=a`.
_ASSIGNMENT = re.compile(r"[:=]")
_COLON_AND_QUOTE = re.compile(r":(?=\s{0,9}\\*[\"'])")
_NAME_BACKWARDS = re.compile(r"\s{0,9}(?:[\"']\\*)?([\w.-]{1,64})")
_NAME_REACH = 80
_QUOTED_VALUE = re.compile(r"\s{0,9}(\\*[\"'])((?:(?!\1)(?:\\.|[^\n])){1,4000})\1")
_BARE_VALUE = re.compile(r"()([^\s\"'\\&;,(){}\[\]<>]{8,200})")
# Every secret name has one of these in it.
_STEMS = (
    *("key", "token", "secret", "passw", "pwd", "passphrase", "credential", "auth", "bearer", "cookie", "jwt"),
    "conn",
)
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
    lower = name.lower()
    if not any(stem in lower for stem in _STEMS):
        return False
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
    for sign, part, form in _PHRASE_FORMS:
        if sign in text and part in text:
            text = form.sub(_hide_group, text)
    if _has_key(text):
        text = _WORD_FORM.sub(REDACTED, text)
    return _URL_USER.sub("://", text) if "@" in text else text


def looks_secret(text: str, known: Collection[str]) -> bool:
    """Whether a text holds what looks like a secret, or one of those that are known, such as the environment's."""
    return any(secret in text for secret in known) or redact_text(text) != text


def _hide_group(match: re.Match) -> str:
    return match.group()[: match.start(1) - match.start()] + REDACTED


def may_hold_secret(text: str) -> bool:
    """Whether `redact_text` or `redact_assignments` may find anything; quick, and never wrong where it says no."""
    for sign, part, form in _PHRASE_FORMS:
        if sign in text and part in text and form.search(text):
            return True
    return _has_key(text) or _may_assign(text)


def _has_key(text: str) -> bool:
    """Whether one of the long words of a text, of which most have none, holds a key."""
    data = text.encode("utf-8", "surrogatepass")
    words = data.translate(_WORD_BYTES)
    start = words.find(_LONG_WORD)
    while start >= 0:
        end = words.find(b" ", start)
        end = len(words) if end < 0 else end
        if _WORD_FORM.search(data[start:end].decode()):
            return True
        start = words.find(_LONG_WORD, end)
    return False


def redact_assignments(text: str) -> str:
    """The text with the values out of sight that it gives to secret names, as JSON, Python and shells do."""
    if not _may_assign(text):
        return text
    parts, end = [], 0
    for start, stop in _assigned_secrets(text):
        parts += (text[end:start], REDACTED)
        end = stop
    return "".join([*parts, text[end:]])


def _may_assign(text: str) -> bool:
    if "=" not in text and _COLON_AND_QUOTE.search(text) is None:
        return False
    lower = text.lower()
    return any(stem in lower for stem in _STEMS)


def _assigned_secrets(text: str) -> Iterator[tuple[int, int]]:
    """Where the values stand that a text gives to secret names."""
    end = 0
    for sign in _ASSIGNMENT.finditer(text):
        place = sign.start()
        named = _NAME_BACKWARDS.match(text[max(end, place - _NAME_REACH) : place][::-1])
        name = named[1][::-1] if named else ""
        if not is_secret_name(name):
            continue
        value = _QUOTED_VALUE.match(text, place + 1) or (text[place] == "=" and _BARE_VALUE.match(text, place + 1))
        if value and _is_given_as_secret(name, value[2], quoted=bool(value[1])):
            yield value.span(2)
            end = value.end()


def _is_given_as_secret(name: str, value: str, quoted: bool) -> bool:
    if is_placeholder(value):
        return False
    # A token may be a word of a language, too, and what is not quoted a part of a sentence.
    return quoted and name.lower() != "token" or is_distinctive(value)


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
    for _, part, form in _PHRASE_FORMS:
        if part in text:
            yield from form.findall(text)
            text = form.sub(_hide_group, text)
    yield from _WORD_FORM.findall(text)


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
    quoted = quoted_forms(text) | {text.replace("'", "''")}
    plain = {each.encode("utf-8", "surrogatepass") for each in quoted}
    return frozenset(plain.union(wide, *map(_in_base64, wide)))


def quoted_forms(text: str) -> set[str]:
    """A text as it is, and quoted as in JSON, Python (as a text and as bytes) and URLs."""
    in_json = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    in_url = {quote(text, errors="replace"), quote(text, safe="", errors="replace")}
    in_bytes = repr(text.encode(errors="replace"))[2:-1]
    return {text, repr(text)[1:-1], ascii(text)[1:-1], in_bytes} | in_json | in_url


def passwords_in(text: str) -> list[str]:
    """The passwords that stand in URLs, before the host."""
    return [unquote(found) for found in _URL_PASSWORD.findall(text)] if "://" in text and "@" in text else []


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
