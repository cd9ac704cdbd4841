"""`gpool attack`: remove the first channels of a ranking, and measure the harm where it is done."""

import dataclasses
import typing
from typing import Any

import jax
import numpy as np

from gpool_jax.config import AttackConfig, plain
from gpool_jax.config.measurements import DataSplit, Method
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels import files, rank, refit
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.images import Images, check_disjoint, images_of
from gpool_jax.experiments.channels.plan import (
    CLASS,
    MATCHED,
    RANDOM,
    Plan,
    make_plan,
    resolve_counts,
)
from gpool_jax.experiments.channels.subject import Subject, Target, Variables, encode, gated
from gpool_jax.experiments.channels.summary import Summary
from gpool_jax.experiments.channels.sweep import SweepCounts, sweep
from gpool_jax.experiments.channels.verdicts import conclude
from gpool_jax.experiments.experiment import Measured
from gpool_jax.report import Result
from gpool_jax.report.overlays import Overlay


def with_rankings(config: Any, names: tuple[str, ...]) -> tuple[Any, list[Ranking]]:
    """A configuration whose regions are those of ranking files, and the rankings.

    Without files the configuration stays as it is, and rankings are computed later.

    Raises:
      InputError: if a file is no ranking, or one of another feature, or was made on
        images that are to be evaluated.
    """
    if not names:
        return config, []
    rankings = files.read_all(names)
    for ranking in rankings:
        if ranking.feature not in (None, config.rank.feature):
            raise InputError(
                f"`ranking`: {ranking.method} for {ranking.region} ranks the channels of "
                f"{ranking.feature}; `rank.feature` is {config.rank.feature}."
            )
        both = sorted(set(ranking.splits) & set(config.attack.splits))
        if both:
            raise InputError(
                f"`ranking`: {ranking.method} for {ranking.region} was made on the split "
                f"{', '.join(both)}, which `attack.splits` evaluates on; they must be disjoint."
            )
    regions = tuple(dict.fromkeys(("overall", *(ranking.region for ranking in rankings))))
    changed = dataclasses.replace(config.rank, regions=regions)
    return dataclasses.replace(config, rank=changed), rankings


def measure(target: Target, rankings: list[Ranking]) -> Measured:
    """Attack a network with rankings of files; without any, they are computed.

    Raises:
      InputError: for splits that overlap, or counts beyond the channels.
    """
    subject, variables = target.subject, target.variables
    setup = subject.setup
    config, ranked = setup.config.attack, setup.config.rank
    known = _known_splits(rankings)
    notes = check_disjoint(setup, tuple(dict.fromkeys((*ranked.splits, *known))), config.splits)
    resolve_counts(config, subject.num_channels)
    for ranking in rankings:
        files.check_channels(ranking, subject.num_channels)
    images = images_of(setup, ranked.splits, ranked.num_images, ranked.batch_size)
    scored = rank.score_channels(subject, variables, images, _methods(config, rankings))
    computed = rank.make_rankings(scored, ranked)
    attacking = _without_random([*rankings, *computed], notes)
    plan = make_plan(config, attacking, scored.activation, seed=setup.config.seed)
    notes += subject.prepare_attack(variables)
    images = images_of(setup, config.splits, config.num_images, config.batch_size)
    mean = scored.activation[0]
    swept = sweep(subject, variables, images, plan, mean, masks_per_pass=config.masks_per_pass)
    if subject.pool is not None:
        again = refit.count_refitted(subject.pool, variables, images, plan)
        counts, partial = swept.counts | again, frozenset(again)
        swept = dataclasses.replace(swept, counts=counts, partial=partial)
    summary = Summary(
        subject.quantities,
        subject.boxes,
        plan,
        swept,
        bootstrap=config.bootstrap,
        clusters=images.clusters(subject.cluster),
    )
    removals = summary.removals()
    result = Result(
        title=f"Channels of {ranked.feature}, removed: {subject.name} on {setup.dataset.name}",
        config=plain.to_dict(setup.config),
        maps={
            "table_count": plan.table_count,
            "table_actions": list(plan.table_actions),
            "num_channels": subject.num_channels,
            "classes": list(subject.class_names),
        },
        notes=[
            *target.notes,
            *conclude(removals, plan.table_actions, plan.table_count),
            _describe_rankings(subject, rankings, swept.num_images),
            _describe_sweep(plan, swept),
            *_describe_matches(config.caliper, plan),
            *scored.notes,
            *notes,
        ],
        removals=removals,
        balances=[balance for balance in plan.balances if balance.count == plan.table_count],
    )
    return Measured(
        result,
        arrays=_per_image(swept, plan),
        overlays=_overlays(target, images, plan, mean),
        files=files.to_files(computed),
    )


def _methods(config: AttackConfig, rankings: list[Ranking]) -> tuple[Method, ...]:
    """The methods that are computed: beside rankings of files, the control alone."""
    if not rankings:
        return config.methods
    given = {ranking.method for ranking in rankings}
    return tuple(method for method in config.methods if method == CLASS and method not in given)


def _known_splits(rankings: list[Ranking]) -> list[str]:
    """Splits that rankings of files were made on, where they are splits of the data."""
    splits = typing.get_args(DataSplit)
    return [name for ranking in rankings for name in ranking.splits if name in splits]


def _without_random(rankings: list[Ranking], notes: list[str]) -> list[Ranking]:
    """Rankings but the random ones, which `random` channels, drawn many times, stand for."""
    kept = [ranking for ranking in rankings if ranking.method != RANDOM]
    if len(kept) < len(rankings):
        notes.append(
            "Random rankings are left out: random channels, drawn many times, stand for them."
        )
    if not kept:
        raise InputError(
            "`attack.methods`: there is no ranking to attack with; name a method (or a --ranking) "
            "that is not random and that ranks one of `rank.regions`."
        )
    return kept


def _describe_rankings(subject: Subject, rankings: list[Ranking], num_images: int) -> str:
    config = subject.setup.config
    known = sorted(set(_known_splits(rankings))) if rankings else config.rank.splits
    source = f"made on {' and '.join(known)}"
    if rankings:
        source = f"read from files ({source})" if known else "read from files"
    unknown = [
        ranking.method
        for ranking in rankings
        if not ranking.splits or len(_known_splits([ranking])) < len(ranking.splits)
    ]
    if unknown:
        source += (
            f"; {', '.join(unknown)} does not say which images it was made on, perhaps those that "
            "are evaluated here"
        )
    return (
        f"Rankings {source}; evaluated on {num_images:,} images of "
        f"{' and '.join(config.attack.splits)}."
    )


def _describe_sweep(plan: Plan, swept: SweepCounts) -> str:
    return (
        f"The sweep of {len(plan.keep):,} sets of channels took {swept.seconds:.1f} s, "
        f"{swept.seconds / max(swept.plain_seconds, 1e-9):.1f} times one plain evaluation of the "
        f"same images ({swept.plain_seconds:.1f} s); running the network again for each set would "
        f"take {len(plan.keep):,} times."
    )


def _describe_matches(caliper: float | None, plan: Plan) -> list[str]:
    """How many matched sets were refused, if some were."""
    refused = sum(balance.num_refused for balance in plan.balances)
    if not refused:
        return []
    asked = refused + sum(balance.num_draws for balance in plan.balances)
    none = [
        f"{balance.ranking} {balance.region}"
        for balance in plan.balances
        if not balance.num_draws and balance.count == plan.table_count
    ]
    left = f"; none is left for the first {plan.table_count} of {', '.join(none)}" if none else ""
    return [
        f"{refused:,} of {asked:,} matched sets were refused: a channel in them has no other "
        f"within a caliper of {caliper:g} standard deviations in log mean and log variance{left}."
    ]


def _per_image(swept: SweepCounts, plan: Plan) -> dict[str, np.ndarray]:
    """Counts [masks, N, R', ...] of the masks that tables are made of, and whose they are."""
    rows = {0: "none"}
    for arm, row in plan.table_rows().items():
        rows[row] = f"{arm.ranking}, {arm.region}, draw {arm.draw}, {arm.action}"
    chosen = plan.table_masks()
    counts = {
        name: counts if name in swept.partial else counts[chosen]
        for name, counts in swept.counts.items()
    }
    return counts | {"masks": np.array([rows[row] for row in chosen])}


def _overlays(target: Target, images: Images, plan: Plan, mean: np.ndarray) -> list[Overlay]:
    """Predictions for a few images before and after each ranking's attack on one region."""
    subject, classify = target.subject, target.subject.predict
    number = min(subject.setup.config.attack.overlays, len(images))
    if classify is None or number == 0:
        return []
    region = next((name for name in subject.boxes if name != "overall"), "overall")
    rows = {"nothing removed": 0}
    for arm, row in plan.table_rows().items():
        own = arm.region == ("overall" if arm.ranking in (RANDOM, CLASS) else region)
        own = own and arm.action == plan.table_actions[0]
        if own and arm.draw == 0 and not arm.ranking.startswith(MATCHED):
            rows[f"{arm.ranking}, {arm.region}, {arm.count} of {subject.num_channels}"] = row

    @jax.jit
    def predict(variables: Variables, pixels: jax.Array, keeps: jax.Array, fill: jax.Array):
        features = encode(subject, variables, subject.stimulus(pixels))

        def with_kept(keep: jax.Array) -> jax.Array:
            return classify(variables, gated(subject, features, keep, fill))

        return jax.vmap(with_kept)(keeps)

    chosen = images.get((np.arange(number) * len(images)) // number)
    fill = mean if plan.table_actions[0] == "mean" else np.zeros_like(mean)
    keeps = plan.keep[list(rows.values())]
    predictions = np.asarray(predict(target.variables, chosen["images"], keeps, fill))
    return [
        Overlay(
            chosen["images"][i],
            chosen["labels"][i],
            dict(zip(rows, predictions[:, i], strict=True)),
            subject.boxes[region],
        )
        for i in range(number)
    ]
