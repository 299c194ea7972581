"""The programs themselves, `editbench` and the trainer's, and how their errors are told."""

from __future__ import annotations

import functools
import io
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from editbench import __version__
from editbench.specs import printable
from editbench.types import EditbenchError

Command: TypeAlias = Callable[..., Any]

_debug = False


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        print(f"{context.command.name} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    global _debug
    _debug = debug
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not cost a run


def program(name: str, about: str) -> typer.Typer:
    """Return a program without verbs, that knows `--version` and `--debug`."""
    made = typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    made.callback()(_root)
    return made


def reporter(name: str) -> Callable[[Command], Command]:
    """Return what makes a verb of a program tell its errors.

    They become one line and an exit code: 2 for what the user can mend, 4 for storage, 1 for our own bugs; 130 when it
    was told to stop, with the command that goes on.
    """

    def reported(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return command(*args, **kwargs)
            except (typer.Exit, typer.Abort, BrokenPipeError):  # the last: whoever reads us has seen enough
                raise
            except KeyboardInterrupt:
                print(f"{name}: stopped; what is finished is saved, go on with", file=sys.stderr)
                print(f"  {_this_command(name)}", file=sys.stderr)
                raise typer.Exit(130) from None
            except Exception as error:
                from editbench.durable import StorageError
                from editbench.mirrors import told

                if _debug:
                    traceback.print_exc()
                if isinstance(error, EditbenchError):
                    print(f"{name}: {printable(told(str(error)))}", file=sys.stderr)
                    raise typer.Exit(4 if isinstance(error, StorageError) else 2) from None
                print(f"{name}: internal error: {type(error).__name__}: {printable(str(error))}", file=sys.stderr)
                print(f"Run `{name} --debug …` to see where, and please report it.", file=sys.stderr)
                raise typer.Exit(1) from None

        return wrapper

    return reported


def _this_command(name: str) -> str:
    """Return the command that this process was started with, as a shell takes it."""
    started = Path(sys.argv[0])
    as_module = [sys.executable, "-m", started.parent.name]
    return shlex.join([*(as_module if started.name == "__main__.py" else [name]), *sys.argv[1:]])


app = program(
    "editbench",
    "Benchmark image editors on masked scenarios: did the edit happen where it was asked for, and did everything else "
    "stay as it was?",
)
reported = reporter("editbench")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
