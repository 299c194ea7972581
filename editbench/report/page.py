"""What every page shares: templates, and the policy that forbids foreign content."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from editbench.names import BIDIRECTIONAL


def render(
    template: str,
    script: str | None = None,
    package: str = "editbench.report",
    styles: Sequence[str] = ("style.css",),
    **values: object,
) -> str:
    """Render one self-contained page.

    Args:
        template: file name in `templates/`.
        script: file name in `templates/` of the page's one script.
        package: whose `templates/` has the template; `base.html` and the styles are always those of this package.
        styles: file names in our `templates/`, in the order in which they are read.
        **values: what the template names; text is escaped, control characters are made visible.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("editbench.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, code = Markup().join(map(_asset, styles)), _asset(script) if script else Markup()
    sources = f"script-src {_hash(code)}; " if script else ""
    policy = f"default-src 'none'; img-src 'self' data:; style-src {_hash(style)}; {sources}base-uri 'none'"
    return environment.get_template(template).render(policy=policy, style=style, script=code, **values)


def island(data: Any) -> Markup:
    r"""Return JSON that may stand in a `<script type="application/json">`: no text in it ends the element.

    >>> print(island(["</script>", "\x1b"]))
    ["\u003c/script\u003e","⟨U+001B⟩"]
    """
    text = json.dumps(_visible_texts(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _visible_texts(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, list | tuple):
        return [_visible_texts(item) for item in data]
    return {name: _visible_texts(item) for name, item in data.items()} if isinstance(data, dict) else data


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
    if character in BIDIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs"):
        return f"⟨U+{ord(character):04X}⟩"
    return character
