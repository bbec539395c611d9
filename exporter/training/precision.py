"""The dtype of the matrix products in training, depending on the hardware."""

import contextlib
from pathlib import Path

from ...serving.interrupts import held

#: Linux's names of CPU instructions for bfloat16 matrices: with avx512_bf16 a step of MiniLM takes 0.55 of the time.
#: Without them TensorFlow converts every operand.
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
#: The first compute capability of NVIDIA GPUs with bfloat16.
_CAPABILITY = (8, 0)


def resolved(precision: str) -> str:
    """``auto`` resolved to ``bfloat16`` or ``float32``, by the first GPU or else the CPU; other values unchanged."""
    if precision != "auto":
        return precision
    with held():
        import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        has_it = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= _CAPABILITY
    else:
        has_it = bool(_instructions() & _INSTRUCTIONS)
    return "bfloat16" if has_it else "float32"


def _instructions() -> set[str]:
    """Instruction sets of this CPU; empty if the system does not report them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return set(line.split())
    return set()
