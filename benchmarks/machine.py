"""The machine that numbers were taken on: its parts, versions, and what it can reach."""

import importlib.metadata
import importlib.util
import os
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gpool_jax import __version__
from gpool_jax.report.environment import cpu_model

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def has_torch() -> bool:
    """Whether the PyTorch side can be run."""
    return importlib.util.find_spec("torch") is not None


def describe() -> dict[str, Any]:
    """Hardware and versions."""
    device = jax.devices()[0]
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "gpool_jax": __version__,
        "python": platform.python_version(),
        "packages": found,
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "cpu": f"{cpu_model()}, {os.cpu_count()} cores",
        "memory_gib": round(pages / 2**30, 1),
    }


def matmul_peak(dtype: str, *, repetitions: int = 9) -> float:
    """Floating point operations per second of a large matrix product: the roofline's ceiling.

    The better of JAX and, where it is installed, PyTorch; the fastest of several calls.

    Args:
      dtype: "float32" or "bfloat16".
      repetitions: of each.
    """
    side = 2048 if jax.default_backend() == "cpu" else 8192
    calls = [_jax_product(dtype, side)]
    if has_torch():
        calls.append(_torch_product(dtype, side))
    best = float("inf")
    for call in calls:
        call()
    for _ in range(repetitions):
        for call in calls:
            started = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - started)
    return 2.0 * side**3 / best


def _jax_product(dtype: str, side: int):
    kind = jnp.dtype(dtype)
    left, right = (
        jax.random.normal(jax.random.key(i), (side, side), jnp.float32).astype(kind) for i in (0, 1)
    )
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(left, right).block_until_ready()


def _torch_product(dtype: str, side: int):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    left, right = (
        torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2)
    )

    def call() -> None:
        torch.matmul(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def reset_peak_memory() -> float:
    """Bytes in use now, from which the next peak is counted; NaN where it cannot be known."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    except OSError:
        return float("nan")


def peak_memory() -> float:
    """Most bytes in use since `reset_peak_memory`: resident here, and on a GPU if there is one."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats:
        return float(stats["peak_bytes_in_use"])
    return _resident("VmHWM")


def _resident(field: str) -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return float("nan")
