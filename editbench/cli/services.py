"""Verbs that let others in: serve."""

from __future__ import annotations

from typing import Annotated

import typer

from editbench.cli.app import app, reported


@app.command()
@reported
def serve(
    editor: Annotated[str, typer.Argument(help="Editor spec.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every one, with a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8377,
    token: Annotated[
        str, typer.Option(envvar="EDITBENCH_TOKEN", help="What requests must carry as bearer token.")
    ] = "",
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest body of a request.")] = 1 << 28,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for one sample; the editor then runs in a process.")
    ] = None,
) -> None:
    """Serve an editor to `editbench run --editor http://…` in another environment or on another machine."""
    from editbench import serve as service
    from editbench.transport import is_loopback

    hosts = ("127.0.0.1", "localhost", "::1", host) if is_loopback(host) else None
    variable = "EDITBENCH_TOKEN=… " if token else ""

    def say(address: str) -> None:
        print(f"{variable}editbench run --suite shapes@1 --label NAME --editor {address}", flush=True)

    service.serve(editor, host, port, service.Limits(max_bytes, timeout, token.strip(), hosts), say)
