"""How the API server writes a quantity: as it was sent if that is short, else in the short form of its value."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal

_QUANTITY = re.compile(r"^([+-]?)(\d*)(?:\.(\d*))?(|[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)$")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NANO = Decimal("1e-9")
_LARGEST = Decimal(2**63 - 1)
FORM = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def canonical(text: str) -> str:
    """The stored form: `1024Mi` -> `1Gi`, `0.25` -> `250m`, `1000m` -> `1`, `1.2E6` -> `1200e3`. Raises ValueError."""
    text = text.strip()
    match = _QUANTITY.match(text)
    if not match or not (match[2] or match[3]):
        raise ValueError(FORM)
    sign, whole, fraction, suffix = match[1], match[2].lstrip("0"), match[3] or "", match[4]
    digits = whole + fraction
    if suffix in _BINARY:
        exponent = _BINARY[suffix]
        if not fraction and int(digits or 0) & 7 and len(digits) + exponent * 3 // 10 <= 14:
            return text
        value = Decimal(f"{whole or 0}.{fraction or 0}") * 2**exponent
        return _binary(sign, min(_rounded(value), _LARGEST))
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    scale = exponent - len(fraction)
    if (
        scale >= -9
        and scale % 3 == 0
        and digits
        and digits[0] != "0"
        and not digits.endswith("000")
        and len(digits) < 19
    ):
        return text
    return _decimal(
        sign, _rounded(Decimal(f"{whole or 0}.{fraction or 0}").scaleb(exponent)), "e" if suffix not in _DECIMAL else ""
    )


def to_milli(text: str) -> str:
    """A canonical quantity, rounded up to thousandths."""
    if not text.endswith(("n", "u")):
        return text
    exponent = _DECIMAL[text[-1]] + 3
    return _decimal(
        text[:1], Decimal(text[:-1].lstrip("+-")).scaleb(exponent).to_integral_value(ROUND_UP).scaleb(-3), ""
    )


def _rounded(value: Decimal) -> Decimal:
    """Up to the next billionth: who asks for a little gets a little."""
    return value.quantize(_NANO, ROUND_UP) if value != value.to_integral_value() else value


def _decimal(sign: str, value: Decimal, style: str) -> str:
    if not value:
        return "0"
    exponent = -9
    number = int(value.scaleb(9))
    while number % 1000 == 0 and exponent < 18:
        number, exponent = number // 1000, exponent + 3
    if style:
        suffix = f"e{exponent}" if exponent else ""
    else:
        suffix = next(key for key, power in _DECIMAL.items() if power == exponent)
    return f"{'-' if sign == '-' else ''}{number}{suffix}"


def _binary(sign: str, value: Decimal) -> str:
    if value < 1024 or value != value.to_integral_value():
        return _decimal(sign, value, "")
    number, power = int(value), 0
    while number % 1024 == 0 and power < 60:
        number, power = number // 1024, power + 10
    return f"{'-' if sign == '-' else ''}{number}{next((key for key, p in _BINARY.items() if p == power), '')}"
