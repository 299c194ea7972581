"""What every page shares: templates, the policy that forbids foreign content, and how numbers are written."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from statistics import median_low
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from editbench.board import Cell, decimal

ARROWS = {"higher": "↑", "lower": "↓"}
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They reorder the text around them."""


def render(template: str, script: str | None = None, **values: object) -> str:
    """Render one self-contained page.

    Args:
        template: file name in `templates/`.
        script: file name in `templates/` of the page's one script.
        **values: what the template names; text is escaped, control characters are made visible.
    """
    environment = Environment(
        loader=PackageLoader("editbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, code = _asset("style.css"), _asset(script) if script else Markup()
    sources = f"script-src {_hash(code)}; " if script else ""
    policy = f"default-src 'none'; img-src 'self' data:; style-src {_hash(style)}; {sources}base-uri 'none'"
    return environment.get_template(template).render(policy=policy, style=style, script=code, **values)


def _asset(name: str) -> Markup:
    return Markup(files("editbench.report").joinpath("templates", name).read_text("utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# -------------------------------------------------------------------------------------------------------- text


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def visible(text: str) -> str:
    r"""Return text in which characters that control a terminal, a layout or an encoder are written out.

    >>> visible("a\x1b[31m\u202eb\ud800")
    'a⟨U+001B⟩[31m⟨U+202E⟩b⟨U+D800⟩'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    if character in _BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs"):
        return f"⟨U+{ord(character):04X}⟩"
    return character


def name_and_options(metric: str) -> tuple[str, str]:
    """Split a metric's spec where its name ends: `psnr:region=keep` is `psnr`, `region=keep`."""
    name, _, options = metric.partition(":")
    return name, options


# ----------------------------------------------------------------------------------------------------- numbers


def decimals(values: Sequence[float], largest: float | None) -> int:
    """Return how many decimals a column gets: three significant digits for its median, within limits.

    Args:
        values: the means of the column.
        largest: upper end of the metric's range; a share gets at least three decimals, anything else two.
    """
    sizes = [abs(value) for value in values if value]
    exponent = int(f"{median_low(sizes):e}".partition("e")[2]) if sizes else 0
    least = 3 if largest is not None and largest <= 1 else 2
    return min(max(2 - exponent, least), 5)


def fixed(value: float, places: int) -> str:
    """Return a number with so many decimals; one that would look like 0 keeps a significant digit.

    >>> fixed(31.257, 1), fixed(0.0, 3), fixed(-0.0001, 3)
    ('31.3', '0.000', '-1e-04')
    """
    if value and abs(value) < 0.5 * 10**-places:
        return f"{value:.0e}"
    return f"{value:.{places}f}"


def interval(cell: Cell, places: int) -> str:
    """Return the 95 % interval in brackets; empty where there is none."""
    low, high = cell.estimate.low, cell.estimate.high
    return "" if low is None or high is None else f"[{fixed(low, places)}, {fixed(high, places)}]"


def explanation(metric: str, signature: str, cell: Cell) -> str:
    """Return everything that is known about one number, for its tooltip."""
    estimate = cell.estimate
    unit = f" {cell.info.unit}" if cell.info.unit else ""
    lines = [f"{metric}: {decimal(estimate.mean)}{unit}" if estimate.mean is not None else f"{metric}: no value"]
    if estimate.low is not None:
        lines.append(f"95 % interval [{decimal(estimate.low)}, {decimal(estimate.high)}]")
    lines.append(f"n = {estimate.n} scenarios in G = {estimate.clusters} clusters")
    lines.append(f"undefined on {cell.undefined}, errors on {cell.errors}")
    if cell.info.cap is not None:
        lines.append(f"{cell.capped} at the cap of {decimal(cell.info.cap)}{unit}")
    lines.append(f"version {cell.info.version}, signature {signature}")
    return "\n".join(lines)
