"""One function: what a run was made with. Informative only; no number depends on it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from editbench import __version__
from editbench.registry import package_version

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "lpips",
    "numpy",
    "scipy",
    "scikit-image",
    "Pillow",
    "pandas",
)


def collect() -> dict[str, Any]:
    """Return argv, packages, git state, hardware and the time in UTC, as JSON data."""
    return {
        "editbench": __version__,
        "argv": sys.argv,
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "git": _git(Path.cwd()),
        "hardware": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "memory_bytes": _memory_bytes(),
            "gpus": _gpus(),
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def upgraded(before: Any, now: Mapping[str, Any]) -> str | None:
    """Return one line about libraries and code that are not what they were, or None.

    Args:
        before: what `collect` gave when a run was last written.
        now: what it gives at present.
    """
    then = before if isinstance(before, dict) else {}
    old, new = (
        {"editbench": data.get("editbench"), "python": data.get("python"), **(data.get("packages") or {})}
        for data in (then, now)
    )
    commits = [(data.get("git") or {}).get("commit") for data in (then, now)]
    changed = [f"{name} {old[name]} -> {new[name]}" for name in new if old.get(name, new[name]) != new[name]]
    if None not in commits and commits[0] != commits[1]:
        changed.append(f"commit {str(commits[0])[:12]} -> {str(commits[1])[:12]}")
    if not changed or not then:
        return None
    return f"edits before and after this resume are made with other code: {', '.join(changed)} (the journal has both)"


def _git(folder: Path) -> dict[str, Any] | None:
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(folder), "status", "--porcelain"))}


def _gpus() -> list[str]:
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return names.splitlines() if names else []


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
