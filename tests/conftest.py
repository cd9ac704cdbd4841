"""How JAX runs in tests: eight devices, strict shapes, quickly compiled."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from tests import fusions

# Child processes find `tests`, and the package where this process has it: here or installed.
PATHS = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, PATHS))
# Compilation is most of the suite's time: programs are compiled with few optimisations, and
# shared between workers and runs. In the environment, for child processes too.
CACHE = Path(tempfile.gettempdir()) / "gpool_jax_test_xla_cache"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
FLAGS = os.environ.get("XLA_FLAGS", ""), fusions.WITHOUT
os.environ["XLA_FLAGS"] = " ".join(filter(None, FLAGS))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)

import jax  # noqa: E402

from gpool_jax.experiments import programs  # noqa: E402
from gpool_jax.report import canvas, pages  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


@pytest.fixture(scope="session", autouse=True)
def eight_devices():
    """The suite means nothing on fewer devices: fail, do not skip."""
    assert jax.local_device_count() == 8


@pytest.fixture(scope="module")
def strict_types():
    """No type is promoted to another; Flax and Optax, which do so themselves, must not run."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="module")
def optimised():
    """Compile a file's programs as a user's are: `pytestmark = pytest.mark.usefixtures(...)`."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def few_programs():
    """Let go of compiled programs before they are too many.

    Each holds memory maps (a file of tests up to 41,000 of them), and Linux allows a
    process 65,530: without this, XLA dies of a segmentation fault in mid-suite.
    """
    started = time.perf_counter()
    yield
    if time.perf_counter() - started < 0.5:
        return  # too short to have compiled much
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        programs.forget()
        jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def blank_figures():
    """Figures are built but not rendered, which takes seconds a page: also for fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "to_png", lambda figure: b"\x89PNG")
        yield


@pytest.fixture(scope="module")
def rendered(blank_figures):
    """Render a file's figures all the same: `pytestmark = pytest.mark.usefixtures(...)`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "to_png", canvas.to_png)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads what another program decoded."""
    monkeypatch.setenv("GPOOL_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; tests that ask for it are marked `data`."""
    return Path(os.environ["GPOOL_DATA_DIR"])


# Files that take longest, longest first: begun last, they would leave the other worker idle.
LONGEST = (
    "deeplab",
    "stream",
    "shared_background",
    "exhaustive",
    "channels",
    "configs",
    "opponents",
    "parallel",
    "shift",
    "conv_lowering",
    "loop",
    "consistency",
    "ops",
    "invariance",
    "channels_cli",
    "models",
    "driver",
    "cli",
)


def pytest_collection_modifyitems(items):
    """Begin with the longest files; skip what needs real data where there are none."""
    order = {f"tests/test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.split("::")[0], len(order)))
    if os.environ.get("GPOOL_DATA_DIR"):
        return
    skip = pytest.mark.skip(reason="GPOOL_DATA_DIR is not set")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)
