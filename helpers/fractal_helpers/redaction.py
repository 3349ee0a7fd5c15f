"""What must never reach a log: secret values are masked, characters that forge lines are escaped.

Masked are the values that were registered, passwords in URLs, AWS access keys, bearer tokens, and
whatever follows a name that means a secret. A mask is a net under the rule that secrets are not
logged, not a replacement for it: a secret nobody registered and nobody labelled is not recognised.
"""

import json
import re
from urllib.parse import quote

MASK = "***"

_MIN_LENGTH = 6
_registered: tuple[str, ...] = ()

_LABEL = (
    r"(?:password|passwd|secret|authorization|credential|signature"
    r"|(?:access|private|api|signing)[_-]?key|(?:auth|security|session|refresh|id)[_-]?token"
    r"|(?<![\w-])token(?![\w-]))"
)
_NAMED = re.compile(_LABEL, re.IGNORECASE)
# Repetitions are bounded where a long hostile text would otherwise cost its length squared.
_RULES = (
    # scheme://user:password@host; a password may hold a / or an @, so rather too much is masked.
    (
        r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@?#]{0,256}:)(?:[^\s/]{1,1024}|[^\s@]{1,1024})(?=@)",
        rf"\1{MASK}",
    ),
    # Key ids of IAM: AKIA is a long-lived one, ASIA a temporary one.
    (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b", MASK),
    (r"\b(Bearer|Basic)\s+[\w.~+/=-]+", rf"\1 {MASK}"),
    # A JSON Web Token, such as a service account's.
    (r"\beyJ[\w-]{1,2048}\.[\w-]+\.[\w-]*", MASK),
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*-----|\Z)", MASK),
    # name=value, name: value, "name": "value", 'name': b'value'
    (
        rf"""({_LABEL}[\w-]{{0,40}}["']?\s{{0,9}}[=:]\s{{0,9}})"""
        r"""(?:b?"[^"]{0,4096}"|b?'[^']{0,4096}'|[^\s,;&"')}\]]+)""",
        rf"\1{MASK}",
    ),
)
_MASKS = tuple((re.compile(rule, re.IGNORECASE), mask) for rule, mask in _RULES)

# C0, DEL and C1 controls (terminal escapes, line breaks), the Unicode line breaks, and the
# bidirectional controls that show a line in another order than it is written; lone surrogates
# cannot be encoded.
_FORGING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def register_secret(value: str) -> None:
    """Mask ``value``, also as URLs, JSON and Python spell it, wherever it appears from now on.

    Values shorter than six characters are not registered: masking every ``a`` would hide nothing.
    """
    global _registered  # replaced, never changed: other threads may be reading it
    if len(value) >= _MIN_LENGTH:
        spelled = {value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]}
        _registered = tuple(sorted({*_registered, *spelled}, key=len, reverse=True))


def redact(text: str) -> str:
    """Return ``text`` with every secret that can be recognised replaced by ``***``."""
    for secret in _registered:
        text = text.replace(secret, MASK)
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


def escape(text: str) -> str:
    """Return ``text`` on one line, without characters that could forge or hide log lines."""
    return _FORGING.sub(lambda match: repr(match[0])[1:-1], text)


def names_secret(name: str) -> bool:
    """Say whether a field of this name is to be masked whatever it holds."""
    return _NAMED.search(name) is not None
