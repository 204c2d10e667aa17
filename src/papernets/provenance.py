"""Where a result comes from: source, commit, versions, device, threads, memory."""

import hashlib
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGE = Path(__file__).parent
LIBRARIES = ("papernets", "torch", "torchvision", "numpy")


def provenance(
    sources: Sequence[str], *, data_sha256: str | None, device: str, seconds: float
) -> dict[str, Any]:
    """The fields of `records.Provenance` for a result that is finished now.

    Args:
        sources: files that determine the result, relative to the package's folder.
        data_sha256: checksum of the data set; None if there is none.
        device: "cpu", "cuda" or "cuda:1".
        seconds: what it took.
    """
    return {
        "data_sha256": data_sha256,
        "source_sha256": source_checksum(sources),
        "git_commit": git_commit(sources),
        "versions": library_versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "peak_memory_mb": peak_memory(device) / 1e6,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def source_checksum(sources: Sequence[str]) -> str:
    """SHA-256 over the bytes of the files, in the given order."""
    digest = hashlib.sha256()
    for name in sources:
        digest.update((PACKAGE / name).read_bytes())
    return digest.hexdigest()


def git_commit(sources: Sequence[str]) -> str | None:
    """Commit of the files, "+changes" if they were edited since; None outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", *sources)
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def library_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES}


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: str = "cpu") -> int:
    """Bytes: allocated on a CUDA device, else resident in this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes
