"""The program itself, and how its errors are told."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from editbench import __version__
from editbench.specs import printable
from editbench.types import EditbenchError

app = typer.Typer(
    name="editbench",
    help="Benchmark image editors on masked scenarios: did the edit happen where it was asked for, and did everything "
    "else stay as it was?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        print(f"editbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    global _debug
    _debug = debug


def reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into one line and an exit code: 2 for what the user can mend, 4 for storage, 1 for our own bugs."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            from editbench.store import StorageError

            if _debug:
                traceback.print_exc()
            if isinstance(error, EditbenchError):
                print(f"editbench: {printable(str(error))}", file=sys.stderr)
                raise typer.Exit(4 if isinstance(error, StorageError) else 2) from None
            print(f"editbench: internal error: {type(error).__name__}: {printable(str(error))}", file=sys.stderr)
            print("Run `editbench --debug …` to see where, and please report it.", file=sys.stderr)
            raise typer.Exit(1) from None

    return wrapper


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
