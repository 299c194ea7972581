"""Verbs that look before anything is run: list, check."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from editbench.cli.app import Json, app, reported
from editbench.specs import did_you_mean, printable
from editbench.types import EditbenchError

if TYPE_CHECKING:
    from editbench.suites.benchmark import Terms

check_app = typer.Typer(help="Check a suite, an editor or a metric before using it.", no_args_is_help=True)
app.add_typer(check_app, name="check")


@app.command("list")
@reported
def list_(
    kind: Annotated[str, typer.Argument(help="suites, editors, metrics, recipes, or config: its JSON schema.")] = "",
    json: Json = False,
    cards: Annotated[bool, typer.Option("--cards", help="Metrics, suites: print the page of all of them.")] = False,
) -> None:
    """List suites, editors and metrics, plug-ins included, or recipes; or show the schema of `--config` files."""
    from editbench.built_in import BUILT_IN
    from editbench.recipes import recipes
    from editbench.records import dumps
    from editbench.registry import names

    if cards:
        from editbench import cards as metric_cards
        from editbench import suite_cards

        if kind not in ("metrics", "suites"):
            raise EditbenchError("--cards are of metrics and suites: `editbench list metrics --cards`")
        print((metric_cards if kind == "metrics" else suite_cards).page(), end="")
        return
    if kind == "config":
        from editbench.config import RunConfig

        print(dumps(RunConfig.schema()))
        return

    kinds = {f"{name}s": partial(names, name) for name in BUILT_IN} | {"recipes": recipes}
    if kind and kind not in kinds:
        raise EditbenchError(f"unknown kind {kind!r}, expected {', '.join(kinds)}{did_you_mean(kind, kinds)}")
    chosen = {plural: listed() for plural, listed in kinds.items() if kind in ("", plural)}
    terms: dict[str, Terms] = {}
    if kind == "suites":
        from editbench.suites import published_terms

        terms = published_terms()
    if json:
        print(dumps({**chosen, "terms": {name: asdict(found) for name, found in terms.items()}} if terms else chosen))
        return
    for plural, entries in chosen.items():
        print(f"{plural}:")
        width = max([16, *map(len, entries)])
        for name, about in entries.items():
            print(f"  {name:{width}} {printable(about)}")
            if name in terms:
                print(f"  {'':{width}}   from {terms[name].home}")
                print(f"  {'':{width}}   licence: {terms[name].licence}; redistribution: {terms[name].redistribution}")


@check_app.command("suite")
@reported
def check_suite(
    spec: Annotated[str, typer.Argument(help="Suite spec, such as folder:PATH.")],
    html: Annotated[
        Path | None, typer.Option(help="Where the overlay page goes.", show_default="check/<suite>")
    ] = None,
    json: Json = False,
) -> None:
    """Validate every scenario and draw its mask, so that polarity can be seen. Exit 5 if one is wrong."""
    from editbench import console

    raise typer.Exit(console.report_suite(spec, html, json))


@check_app.command("editor")
@reported
def check_editor(
    spec: Annotated[str, typer.Argument(help="Editor spec.")],
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for one edit.", show_default="300 for third-party code")
    ] = None,
    json: Json = False,
) -> None:
    """Run an editor on toy scenarios, say what is wrong with its answers and how to mend it. Exit 1 if anything is."""
    from editbench import conformance, console

    findings = conformance.check_editor(conformance.place_for_check(spec, timeout))
    raise typer.Exit(console.report_findings(spec, findings, json, code=1))


@check_app.command("metric")
@reported
def check_metric(spec: Annotated[str, typer.Argument(help="Metric spec.")], json: Json = False) -> None:
    """Evaluate a metric on toy scenarios and say what is wrong with its values. Exit 5 if anything is."""
    from editbench import console, testing
    from editbench.metrics import load_metrics

    (metric,) = load_metrics([spec]).values()
    raise typer.Exit(console.report_findings(spec, testing.check_metric(metric), json))
