"""Shift augmentation, AugShift and BlurPool side by side, over several seeds."""

import dataclasses

from gpool_jax.config import InvarianceComparisonConfig, InvarianceConfig, plain
from gpool_jax.experiments.experiment import Measured, Member
from gpool_jax.experiments.invariance.training import network_name
from gpool_jax.experiments.measures import consistency, tallies
from gpool_jax.experiments.measures.lines import combine_probes
from gpool_jax.report import Measurement, Result


def arm_configs(config: InvarianceComparisonConfig) -> dict[str, InvarianceConfig]:
    """Each arm's config at the first seed, by the name of its sub-folders."""
    plain_model = dataclasses.replace(config.model, antialias=0)
    single = InvarianceConfig(
        n=config.n,
        seed=config.seed,
        data=config.data,
        model=plain_model,
        train=config.train,
        consistency=config.consistency,
        probe=config.probe,
    )
    arms: dict[str, InvarianceConfig] = {}
    for arm in config.arms:
        augment = "shift" in arm
        shift = dataclasses.replace(
            config.shift,
            augment=augment,
            weight=config.shift.weight if "augshift" in arm else 0.0,
            # Unshifted, unmirrored views would be copies: one is enough.
            views=config.shift.views if augment or config.data.flip else 1,
        )
        model = config.model if "blurpool" in arm else plain_model
        if arm == "aps":
            model = dataclasses.replace(model, subsampling="aps")
        arms[arm] = dataclasses.replace(single, shift=shift, model=model)
    for weight in config.weights:
        shift = dataclasses.replace(config.shift, augment=True, weight=weight)
        arms[f"augshift_weight{weight:g}"] = dataclasses.replace(single, shift=shift)
    return arms


def members(config: InvarianceComparisonConfig) -> dict[str, InvarianceConfig]:
    """The runs of a comparison, by the name of their folder; a seed's arms together."""
    return {
        f"{arm}-seed{seed}": dataclasses.replace(single, seed=seed)
        for seed in range(config.seed, config.seed + config.num_seeds)
        for arm, single in arm_configs(config).items()
    }


def combine(config: InvarianceComparisonConfig, members: dict[str, Member]) -> Measured:
    """Put every arm's measurements together over its seeds, and the differences of arms."""
    bootstrap, names = config.consistency.bootstrap, _names(config)
    seeds = range(config.seed, config.seed + config.num_seeds)
    # An arm is compared once all of its seeds are there.
    names = {
        arm: name
        for arm, name in names.items()
        if all(f"{arm}-seed{seed}" in members for seed in seeds)
    }
    arms, measurements = {}, []
    for arm, name in names.items():
        runs = [members[f"{arm}-seed{seed}"] for seed in seeds]
        shifted = [tallies.from_arrays(run.arrays, run.result.measurements) for run in runs]
        arms[name] = tallies.stack(shifted)
        measurements += tallies.summarise(name, arms[name], bootstrap=bootstrap)
    for name, versus in _contrasts(names):
        pair = name, arms[name], versus, arms[versus]
        measurements += tallies.compare(*pair, bootstrap=bootstrap)
    notes = sentences(measurements) + consistency.caveats(config)
    data = next(iter(members.values())).result.title.split(" on ")[-1]
    result = Result(
        title=f"Translation invariance by augmentation, loss and BlurPool: {data}",
        config=plain.to_dict(config),
        probes=combine_probes(members, bootstrap),
        curves={n: m.events for n, m in members.items() if n.endswith(f"seed{config.seed}")},
        notes=notes,
        measurements=measurements,
    )
    return Measured(result)


def _names(config: InvarianceComparisonConfig) -> dict[str, str]:
    """Name each arm in tables; arms that differ in the weight alone are told apart."""
    names = {}
    for arm, single in arm_configs(config).items():
        name = network_name(single)
        if arm.startswith("augshift_weight"):
            name = f"AugShift, weight {single.shift.weight:g}"
        names[arm] = name
    return names


def _contrasts(names: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of arms that are compared: all with the baseline, AugShift with its rivals too."""
    return [
        (name, names[reference])
        for reference in ("baseline", "shift", "blurpool")
        for name in names.values()
        if reference in names and name != names[reference]
        if reference == "baseline" or name.startswith("AugShift")
    ]


def sentences(measurements: list[Measurement]) -> list[str]:
    """State the differences under the first protocol, no more than the table says."""
    first = next((m.protocol for m in measurements if m.quantity == "consistency"), None)
    by_key = {(m.arm, m.versus, m.protocol, m.quantity): m for m in measurements}
    said = []
    for (arm, versus, protocol, quantity), m in by_key.items():
        if versus is None or quantity != "consistency" or protocol != first:
            continue
        accuracy = by_key[(arm, versus, protocol, "accuracy")]
        said.append(
            f"{arm} against {versus}, {protocol}: consistency {_points(m)} points, accuracy "
            f"{_points(accuracy)}."
        )
    for m in measurements:
        if m.versus == "baseline" and m.quantity == "cell_decoding":
            said.append(f"{m.arm} against baseline: cell read from the latent {_points(m)} points.")
    return said


def _points(m: Measurement) -> str:
    return f"{100 * m.value:+.1f} ({100 * m.low:+.1f} to {100 * m.high:+.1f})"
