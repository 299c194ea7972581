"""Seats on a Ray cluster: an actor each, wherever Ray finds the cores and GPUs that it asks for."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import threading
from concurrent.futures import Future
from typing import Any

from editbench.pool.seated import Chunk, Order, Refusal, SeatedWork
from editbench.types import EditbenchError
from editbench.work import Outcome

PATIENCE_SECONDS = 10.0
"""How long an editor may take to close."""

CONNECT_SECONDS = 10.0


class RaySeat:
    """An actor of its own for one seat. One that is lost is asked for again, and waits for a place like any other.

    Args:
        ray: the module, connected to a cluster.
        gpus: that Ray sets aside for it, or a part of one.
        work: class of the actor: made of an order, with the methods of `SeatedWork`.
    """

    def __init__(self, ray: Any, gpus: float, work: type[Any] = SeatedWork) -> None:
        from ray import exceptions

        self.losses: tuple[type[BaseException], ...] = (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
        )
        self._ray = ray
        self._class = ray.remote(work).options(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._actor: Any = None

    def start(self, order: Order) -> Future[Refusal | None]:
        """Start an actor, in the place of the one before; what `ready` answers."""
        self.end(patient=False)
        self._actor = self._class.remote(order)
        future: Future[Refusal | None] = self._actor.ready.remote().future()
        return future

    def do(self, chunk: Chunk) -> Future[Outcome | Refusal]:
        """Give it some tasks."""
        future: Future[Outcome | Refusal] = self._actor.do.remote(chunk).future()
        return future

    def end(self, patient: bool) -> None:
        """End the actor: after its editor has been closed, or at once."""
        actor, self._actor = self._actor, None
        if actor is None:
            return
        if patient:
            with contextlib.suppress(Exception):
                self._ray.get(actor.end.remote(), timeout=PATIENCE_SECONDS)
        with contextlib.suppress(Exception):  # the cluster may be gone
            self._ray.kill(actor)


def connect(address: str | None) -> Any:
    """Connect to a Ray cluster, or start one on this machine; return the module.

    Args:
        address: of a cluster; None for that of the environment (`RAY_ADDRESS`), or else one of our own.

    Raises:
        EditbenchError: if Ray is not installed, or no cluster is there.
    """
    try:
        import ray
    except ImportError:
        raise EditbenchError("executor ray: it is not installed: pip install 'editbench[ray]'") from None
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if place := re.search(r"([^/:]+):(\d+)$", address or ""):
            socket.create_connection((place[1], int(place[2])), CONNECT_SECONDS).close()  # Ray asks for five minutes
        if not ray.is_initialized():
            handler = signal.getsignal(signal.SIGTERM)
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would leave at once, with nothing saved
    except (OSError, ValueError, RuntimeError) as error:
        words = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise EditbenchError(f"executor ray:{address or ''}: no cluster there ({words})") from None
    return ray


def places(ray: Any, gpus: float) -> int:
    """Return for how many seats there is room now: by GPUs where seats need some, by cores otherwise."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1)))
