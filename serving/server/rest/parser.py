"""Reads JSON like TensorFlow Serving: RapidJSON 1.1.0 with NaN and Infinity, up to the end of the first value.

Python's own parser accepts other texts and has other messages. Here strings are bytes, which need not be UTF-8, the
first of two members with the same name counts, nesting has no limit, and text after the value is ignored.
"""

import re
from typing import Any, TypeAlias

from ..failure import Failure, invalid

#: ``None``, bool, int, float, bytes (for a string), list, or dict with bytes as keys.
Value: TypeAlias = Any

_BOM = re.compile(rb"(?:\xef(?:\xbb(?:\xbf)?)?)?")
_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.([0-9]*)")
_EXPONENT = re.compile(rb"[eE]([+-]?)([0-9]*)")
_ESCAPES = dict(zip(b'"/\\bfnrt', (b'"', b"/", b"\\", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))
_INTEGERS = range(-(2**63), 2**64)

_INVALID = "Invalid value."
_MISSING_NAME = "Missing a name for object member."
# States of the parser: the expected next token.
_START, _FIRST_ELEMENT, _ELEMENT, _MEMBER, _FIRST_KEY, _KEY, _COLON, _AFTER_ELEMENT, _AFTER_MEMBER = range(9)
#: State -> message for an unexpected token.
_WRONG = (
    "The document is empty.", _INVALID, _INVALID, _INVALID, _MISSING_NAME, _MISSING_NAME,
    "Missing a colon after a name of object member.", "Missing a comma or ']' after an array element.",
    "Missing a comma or '}' after an object member.",
)  # fmt: skip


def parse(text: bytes) -> Value:
    """The value at the beginning of a text.

    Raises:
        Failure: INVALID_ARGUMENT; the text is not JSON.
    """
    if not text:
        raise invalid("JSON Parse error: The document is empty")
    at = _end(_BOM, text, 0)
    # Iterative, because nesting may be deeper than Python's stack.
    containers: list[Any] = []
    keys: list[bytes] = []
    state = _START
    while True:
        at = _end(_SPACE, text, at)
        char = text[at : at + 1]
        if state <= _MEMBER:
            if char in (b"[", b"{"):
                containers.append([] if char == b"[" else {})
                state = _FIRST_ELEMENT if char == b"[" else _FIRST_KEY
                at += 1
                continue
            if char == b"]" and state == _FIRST_ELEMENT:
                at, value = at + 1, containers.pop()
            elif char in (b"", b"\0", b"]", b"}", b",", b":"):
                raise _error(_WRONG[state], at)
            else:
                value, at = _scalar(text, at)
        elif state in (_FIRST_KEY, _KEY) and char == b'"':
            key, at = _string(text, at)
            keys.append(key)
            state = _COLON
            continue
        elif state == _COLON and char == b":":
            at, state = at + 1, _MEMBER
            continue
        elif state in (_AFTER_ELEMENT, _AFTER_MEMBER) and char == b",":
            at, state = at + 1, _ELEMENT if state == _AFTER_ELEMENT else _KEY
            continue
        elif (state == _AFTER_ELEMENT and char == b"]") or (state in (_FIRST_KEY, _AFTER_MEMBER) and char == b"}"):
            at, value = at + 1, containers.pop()
        else:
            raise _error(_WRONG[state], at)
        if not containers:
            return value
        if isinstance(containers[-1], list):
            containers[-1].append(value)
            state = _AFTER_ELEMENT
        else:
            containers[-1].setdefault(keys.pop(), value)
            state = _AFTER_MEMBER


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _error(message: str, at: int) -> Failure:
    return invalid(f"JSON Parse error: {message} at offset: {at}")


def _scalar(text: bytes, at: int) -> tuple[Value, int]:
    char = text[at : at + 1]
    if char == b'"':
        return _string(text, at)
    for word, value in ((b"true", True), (b"false", False), (b"null", None)):
        if char == word[:1]:
            return value, _expect(word, text, at)
    return _number(text, at)


def _expect(word: bytes, text: bytes, at: int) -> int:
    for expected in word:
        if text[at : at + 1] != bytes([expected]):
            raise _error(_INVALID, at)
        at += 1
    return at


def _number(text: bytes, start: int) -> tuple[float, int]:
    found = _INTEGER.match(text, start)
    if not found:
        negative = text[start : start + 1] == b"-"
        at = start + negative
        if text[at : at + 1] == b"N":
            return float("nan"), _expect(b"NaN", text, at)
        at = _expect(b"Inf", text, at)
        if text[at : at + 1] == b"i":
            at = _expect(b"inity", text, at)
        return float("-inf" if negative else "inf"), at
    at, decimals, exponent = found.end(), 0, 0
    fraction = _FRACTION.match(text, at)
    if fraction:
        at, decimals = fraction.end(), len(fraction[1])
        if not decimals:
            raise _error("Miss fraction part in number.", at)
    power = _EXPONENT.match(text, at)
    if power:
        at = power.end()
        if not power[2]:
            raise _error("Miss exponent in number.", at)
        # Truncated, because Python refuses to convert more than a few thousand digits.
        exponent = int(power[1] + power[2][-1000:]) if power[2].strip(b"0") else 0
    token = text[start:at]
    # Longer numbers are not 64-bit integers, and Python refuses some of them.
    if not fraction and not power and len(token) <= 20 and (whole := int(token)) in _INTEGERS:
        return whole, at
    value = float(token)
    if exponent > 308 + decimals or value in (float("inf"), float("-inf")):
        raise _error("Number too big to be stored in double.", start)
    return value, at


def _string(text: bytes, at: int) -> tuple[bytes, int]:
    parts = []
    at += 1
    while True:
        end = _end(_PLAIN, text, at)
        parts.append(text[at:end])
        char = text[end : end + 1]
        if char == b'"':
            return b"".join(parts), end + 1
        if char in (b"", b"\0"):
            raise _error("Missing a closing quotation mark in string.", end)
        if char != b"\\":
            raise _error("Invalid escape character in string.", end)
        escaped = text[end + 1 : end + 2]
        if escaped == b"u":
            part, at = _unicode(text, end)
        elif escaped and escaped[0] in _ESCAPES:
            part, at = _ESCAPES[escaped[0]], end + 2
        else:
            raise _error("Invalid escape character in string.", end)
        parts.append(part)


def _unicode(text: bytes, start: int) -> tuple[bytes, int]:
    r"""The character of ``\uXXXX``, or of two such escapes that form a surrogate pair."""
    unit, at = _hex4(text, start + 2, start), start + 6
    if 0xD800 <= unit <= 0xDBFF:
        if text[at : at + 2] != b"\\u":
            raise _error("The surrogate pair in string is invalid.", start)
        low, at = _hex4(text, at + 2, start), at + 6
        if not 0xDC00 <= low <= 0xDFFF:
            raise _error("The surrogate pair in string is invalid.", start)
        unit = 0x10000 + (unit - 0xD800 << 10) + (low - 0xDC00)
    # A lone low surrogate is accepted, and becomes three bytes that are not UTF-8.
    return chr(unit).encode("utf-8", "surrogatepass"), at


def _hex4(text: bytes, at: int, start: int) -> int:
    found = _HEX.match(text, at)
    if not found:
        raise _error("Incorrect hex digit after \\u escape in string.", start)
    return int(found[0], 16)
