"""Numbers as a person reads them, on pages and in tables; a dash for what was not measured."""

from math import isfinite
from typing import TypeGuard

NOT_MEASURED = "—"


def percent(share: float | None, digits: int = 2) -> str:
    """0.9342 -> "93.42 %"; a dash for what was not measured."""
    return f"{100 * share:.{digits}f} %" if is_measured(share) else NOT_MEASURED


def number(value: float | None, digits: int = 4) -> str:
    """A number with at most ``digits`` significant digits; a dash for what was not measured."""
    return f"{value:,.{digits}g}" if is_measured(value) else NOT_MEASURED


def loss(value: float | None) -> str:
    """A loss with four significant digits, zeros kept, so that a column of them lines up; a dash if not measured."""
    return f"{value:#.4g}".rstrip(".") if is_measured(value) else NOT_MEASURED


def integer(value: float | None) -> str:
    """1234567 -> "1,234,567"; a dash for what was not measured."""
    return f"{value:,.0f}" if is_measured(value) else NOT_MEASURED


def counted(count: float | None, noun: str) -> str:
    """A count with what it counts: "1 image", "1,797 images"; a dash for what was not measured."""
    return f"{integer(count)} {noun}{'s' * (count != 1)}"


def compact(value: float | None) -> str:
    """26494090 -> "26.5 M": a count to grasp at a glance; a dash for what was not measured."""
    if not is_measured(value):
        return NOT_MEASURED
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * size:  # 999,999 is "1 M", not "1e+03 k"
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: "0.42 s", "38 s", "12 min 5 s", "3 h 07 min"."""
    if not is_measured(seconds):
        return NOT_MEASURED
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def speed(images_per_s: float) -> str:
    """How many images a second: "1,234 images/s", below ten with a decimal: "4.6 images/s"."""
    return f"{images_per_s:,.{0 if images_per_s >= 10 else 1}f} images/s"


def is_measured(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to show."""
    return value is not None and isfinite(value)


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: -0.0126 -> "-1.26", 0.5 -> "+50.00"."""
    rounded = round(100 * difference, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def p_value(p: float) -> str:
    """A p-value with two significant digits; "< 0.001" below that."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
