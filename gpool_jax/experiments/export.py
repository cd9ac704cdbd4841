"""A trained network as one file that JAX runs without this package."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from gpool_jax import files, ops
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, registry, workdir
from gpool_jax.experiments.experiment import Warn

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
PROGRAM, FACTS = "network.jax_export", "network.json"


@dataclasses.dataclass(frozen=True)
class Exported:
    """A network's program for some platforms, and what its inputs and outputs are."""

    program: bytes
    facts: dict[str, Any]


def export_run(
    folder: Path,
    platforms: tuple[str, ...],
    *,
    config: Any = None,
    trust_code: bool = False,
    warn: Warn = print,
) -> Exported:
    """Export the best checkpoint of a run, its weights and normalisation included.

    The program maps images uint8 [B, H, W, C], for any B, to a dict: `logits`, float32, and of a
    classifier `latent`, float32 [B, C'], the pooled vector. Channels keep their order. `config`
    says where the data lie now; None: where they lay in training.

    Raises:
      InputError: if there is no such run, its code is not trusted, or a platform is not known.
    """
    if not platforms or not set(platforms) <= set(PLATFORMS):
        got = " ".join(platforms) or "none"
        raise InputError(f"`platforms` must be among {', '.join(PLATFORMS)}; got {got}.")
    trained = workdir.read_config(folder)
    config = trained if config is None else config
    if registry.comparison(config) is not None:
        raise InputError(f"`run`: {folder} holds a comparison; name the folder of one of its runs.")
    workdir.check_trusted(config, folder, trust_code=trust_code)
    driver.check_overrides(trained, config)
    setup = registry.experiment(config).prepare(config, warn=warn)
    setup, snapshots = driver.load(setup, folder, warn)
    mean, std = setup.dataset.mean, setup.dataset.std

    def network(images: jax.Array) -> dict[str, jax.Array]:
        inputs = ops.normalise(images, mean, std)
        logits, features = setup.model.apply(snapshots.best.variables, inputs)
        pooled = {"latent": features["gap"]} if "gap" in features else {}
        return {"logits": logits.astype(jnp.float32)} | pooled

    shape = setup.input_shape[1:]
    (batch,) = jax_export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    exported = jax_export.export(jax.jit(network), platforms=platforms)(images)
    outputs = jax.eval_shape(network, jax.ShapeDtypeStruct((1, *shape), jnp.uint8))
    facts = {
        "model": config.model.name,
        "step": snapshots.best.step,
        "platforms": list(platforms),
        "images": ["b", *shape],
        "outputs": {name: ["b", *value.shape[1:]] for name, value in outputs.items()},
        "mean": [float(value) for value in mean],
        "std": [float(value) for value in std],
        "notes": snapshots.notes,
    }
    return Exported(bytes(exported.serialize()), facts)


def write(exported: Exported, out: Path, owner: workdir.Owner) -> list[Path]:
    """Write the program and its facts into a folder, which is made; return their paths."""
    facts = exported.facts | {"environment": {"owner": dataclasses.asdict(owner)}}
    with workdir.hold(out):
        # First of all, since it says whose the program is.
        files.write(out / FACTS, files.to_json(facts))
        with files.writing(out / PROGRAM) as file:
            file.write(exported.program)
    return [out / PROGRAM, out / FACTS]
