"""Description of the machine of a measurement."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

__all__ = ["cores", "describe", "peak_rss", "reset_peak_rss", "rss"]

#: CPU flags that determine the kernels of oneDNN and similar libraries.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
_PACKAGES = (
    "rawbert", "tensorflow", "tensorflow-text", "tensorflow-hub", "transformers", "sentence-transformers", "torch",
    "onnxruntime", "openvino", "numpy",
)  # fmt: skip


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(threads: int) -> dict[str, object]:
    """The processor, its flags, and the versions of the software."""
    model, flags = platform.processor() or platform.machine(), set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        model = fields.get("model name", model)
        if {"cpu family", "model"} <= fields.keys():
            model += f" (family {fields['cpu family']}, model {fields['model']})"
        flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "cpu": model,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": cores(),
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def rss() -> int:
    """Resident memory of this process in bytes."""
    return _status("VmRSS")


def peak_rss() -> int:
    """Largest resident memory of this process since :func:`reset_peak_rss`, in bytes."""
    return _status("VmHWM")


def reset_peak_rss() -> None:
    """Reset :func:`peak_rss` (clear_refs in proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
