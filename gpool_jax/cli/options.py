"""The options of every command: one frozen dataclass each, whose docstrings are the help.

The fields of the config that a command works on are options as well.
"""

import dataclasses
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of every command."""

    # The module of `gpool_jax.cli` that has the command.
    module: ClassVar[str] = "train"
    # The word right after the command, and what the help says of it.
    takes: ClassVar[str] = ""
    about: ClassVar[str] = ""
    # Sections of the config that the command takes; None: all of it.
    sections: ClassVar[tuple[str, ...] | None] = None
    # The class in `gpool_jax.config` of a config that it takes.
    example: ClassVar[str] = "PositionConfig"

    target: str | None = None
    """The word right after the command."""
    workdir: str | None = None
    """Folder that the results (results.json, of an audit audit.json), report.html and all else are written to."""
    quiet: bool = False
    """Print errors and the paths of results only."""
    json: bool = False
    """Print the content of results.json (of an audit audit.json), and nothing else, on stdout."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or none to keep none; by default $JAX_COMPILATION_CACHE_DIR or ~/.cache/gpool_jax/xla."""
    config: Any = None
    """The config, with what was given."""


@dataclasses.dataclass(frozen=True)
class Reporting(Options):
    """Options of the commands that end with tables."""

    tables: bool = False
    """Print every table, not the main one alone."""


@dataclasses.dataclass(frozen=True)
class Demo(Reporting):
    """Answer the main question on handwritten digits, in minutes."""

    workdir: str | None = "runs/demo"


@dataclasses.dataclass(frozen=True)
class Train(Reporting):
    """Train and evaluate what a config asks for."""

    takes = "CONFIG"
    about = """\
  CONFIG is a Python file that defines `config`, or a name of `gpool configs`.
  With a CONFIG, the defaults below are its values."""

    dry_run: bool = False
    """Print what the training would cost (size, memory, time), and train nothing."""
    distributed: bool = False
    """Train together with other processes. On TPU VMs and under Slurm they find each other; elsewhere, the next three options say where they are."""
    coordinator: str | None = None
    """Address of process 0, as HOST:PORT."""
    num_processes: int | None = None
    """Number of processes."""
    process_id: int | None = None
    """Number of this process, from 0."""


@dataclasses.dataclass(frozen=True)
class Invariance(Train):
    """Train AugShift and rivals, and compare them under shift."""


@dataclasses.dataclass(frozen=True)
class Measuring(Reporting):
    """Options of the commands that measure a run, or a file of weights."""

    module = "channels"
    takes = "RUN"
    about = """\
  RUN is the folder of a training run. Instead of it: --weights FILE --model NAME
  --workdir DIR, and then --task, --n, --seed, --data.* and --model.* as well.
  With a RUN, the defaults below are its values."""

    weights: str | None = None
    """File of weights (.safetensors, or .pth with PyTorch) to measure instead of a run."""
    model: str | None = None
    """Network that the weights are of, such as resnet18; `gpool --list-models` lists them."""
    trust_code: bool = False
    """Run the code of a run whose network is python:MODULE:FUNCTION."""


@dataclasses.dataclass(frozen=True)
class Evaluate(Measuring):
    """Evaluate a run again, or a network from a file of weights."""

    module = "evaluate"
    sections = ("eval", "probe", "consistency", "train.parallel")

    consistency: bool = False
    """Measure consistency under shift as well; any --consistency.* does so too."""


@dataclasses.dataclass(frozen=True)
class Rank(Measuring):
    """Rank channels by how much position each carries."""

    sections = ("rank",)

    authors_format: bool = False
    """Write the rankings in the format of the paper's authors."""


@dataclasses.dataclass(frozen=True)
class Attack(Measuring):
    """Remove the channels ranked first, and measure what is lost."""

    sections = ("rank", "attack")

    ranking: tuple[str, ...] = ()
    """Rankings to use instead of computing them: files, or folders of `gpool rank`."""


@dataclasses.dataclass(frozen=True)
class Audit(Options):
    """Audit any network, on any images, without labels."""

    module = "audit"
    example = "AuditConfig"
    takes = "NETWORK [NETWORK ...]"
    about = """\
  NETWORK is the folder of a training run; a FILE of weights, with --model NAME; or
  timm:NAME, torchvision:NAME, onnx:FILE or python:MODULE:FUNCTION, a function that
  returns a network or a PyTorch module."""

    model: str | None = None
    """Network that a file of weights is of; `gpool --list-models` lists them."""
    checkpoint: str | None = None
    """File of the weights of a network of timm or torchvision."""
    layer: str | None = None
    """Module or node that gives the map that is pooled; by default it is found."""
    trust_code: bool = False
    """Run the code of a run whose network is python:MODULE:FUNCTION."""
    export_eraser: str | None = None
    """File (.npz) for the affine map that erases the cell from the pooled vector."""
    export_latents: str | None = None
    """File (.npz) for the pooled vectors of every stimulus."""
    fail_if: tuple[str, ...] = ()
    """Conditions, such as "shift.answers_changed.crop > 0.2", for which the exit code is 3; any of several does it."""


@dataclasses.dataclass(frozen=True)
class Export(Options):
    """Write a run's network to a file that JAX alone runs."""

    module = "export"
    takes = "RUN"
    about = """\
  RUN is the folder of a training run. Its best checkpoint goes to network.jax_export, and
  what its inputs and outputs are to network.json, in RUN/export or --workdir."""
    sections = ()

    platforms: tuple[str, ...] = ("cpu", "cuda", "tpu")
    """Platforms that the program runs on: cpu, cuda, rocm, tpu."""
    trust_code: bool = False
    """Run the code of a run whose network is python:MODULE:FUNCTION."""


_ALL: tuple[type[Options], ...] = (Demo, Train, Invariance, Evaluate, Rank, Attack, Audit, Export)
COMMANDS = {kind.__name__.lower(): kind for kind in _ALL}
