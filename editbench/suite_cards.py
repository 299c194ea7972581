"""Cards of published benchmarks: layout, terms and options of each loader, rendered from its class."""

from __future__ import annotations

from editbench.built_in import BUILT_IN
from editbench.cards import option_rows, read_docstring, table, usage
from editbench.registry import lookup
from editbench.suites import published_terms
from editbench.suites.benchmark import Terms

_INTRODUCTION = """\
# Published benchmarks

One card for each loader, made from its class by `editbench list suites --cards`; a test compares this page with what
that command prints. [suites.md](suites.md) says what all of them share. Nothing is downloaded, and none of these data
comes with editbench: get them at the address given, under the terms given. Where those are unknown, ask their authors
before you pass anything on.
"""


def card(name: str, terms: Terms) -> str:
    """Return the card of a loader, Markdown."""
    cls = lookup("suite", name)
    doc = read_docstring(cls)
    facts = [
        ("Benchmark", terms.title),
        ("Spec", f"`{usage(name, cls)}`"),
        ("Get it", terms.home),
        ("Licence", terms.licence),
        ("Redistribution", terms.redistribution),
        ("Cite", terms.citation),
    ]
    parts = [f"## {name}\n", f"{doc.text}\n", table(("", ""), facts)]
    parts.append(table(("Option", "Values", "Default", "Meaning"), list(option_rows(cls, doc.options))))
    for title, sentences in (("Remarks", terms.remarks), ("Unconfirmed", terms.unconfirmed)):
        if sentences:
            parts.append(f"**{title}.**\n")
            parts.append("".join(f"- {text}\n" for text in sentences))
    return "\n".join(parts)


def page() -> str:
    """Return the page of all cards, Markdown: the same on every machine."""
    found = published_terms()
    head = ("Suite", "", "Licence", "Redistribution")
    about = BUILT_IN["suite"]
    rows = [(f"[`{name}`](#{name})", about[name].about, t.licence, t.redistribution) for name, t in found.items()]
    return "\n".join([_INTRODUCTION, table(head, rows), *(card(name, terms) for name, terms in found.items())])
