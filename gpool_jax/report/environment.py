"""The machine and the versions with which a number was measured."""

import contextlib
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

import jax

from gpool_jax import __version__


def environment(seconds: float) -> dict:
    """Describe versions, hardware, the command and its wall time in seconds."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    device = jax.devices()[0]
    return {
        "command": shlex.join(["gpool", *sys.argv[1:]]),
        "gpool_jax": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "cpu": f"{cpu_model()}, {os.cpu_count()} cores",
        "x64": bool(jax.config.read("jax_enable_x64")),
        "wall_seconds": round(seconds, 1),
    }


def cpu_model() -> str:
    """Name the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
