"""`gpool attack`: remove the first channels of a ranking, and measure the harm where it is done."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax.config import SegmentationConfig, plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import workdir
from gpool_jax.experiments.channels import files, rank, subjects
from gpool_jax.experiments.channels.canvases import CanvasSubject
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.images import Images
from gpool_jax.experiments.channels.pixels import PixelSubject
from gpool_jax.experiments.channels.plan import MATCHED, RANDOM, Plan, make_plan, resolve_counts
from gpool_jax.experiments.channels.scoring import score_channels
from gpool_jax.experiments.channels.subject import check_feature, encode
from gpool_jax.experiments.channels.subjects import Opened
from gpool_jax.experiments.channels.summary import Summary
from gpool_jax.experiments.channels.sweep import Swept, sweep
from gpool_jax.experiments.segmentation.measure import data_notes
from gpool_jax.report import Result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.report.overlays import Overlay

# A linear read-out of so many images, each in every cell, is as good as one of more.
_READ_OUT_IMAGES = 2000


def with_rankings(config: Any, names: tuple[str, ...]) -> tuple[Any, list[Ranking]]:
    """A config whose regions are those of ranking files, and the rankings.

    Args:
      config: of the attack.
      names: files or folders; none: the config stays, the rankings are computed later.

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


def run(
    opened: Opened,
    rankings: list[Ranking],
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Attack a network; write the report.

    Args:
      opened: from `subjects.open_run` or `open_weights`.
      rankings: from `with_rankings`; none: they are computed.
      out: gets results.json, per_image.npz and report.html; and the rankings that were
        computed.
      warn: receives warnings.

    Raises:
      InputError: for splits that overlap, or counts beyond the channels.
    """
    started = time.perf_counter()
    subject, setup = opened.subject, opened.subject.setup
    config, ranking_config = setup.config.attack, setup.config.rank
    workdir.check_writable(out)
    ranked_on = dict.fromkeys((*ranking_config.splits, *_known_splits(rankings)))
    notes = subjects.check_disjoint(setup, tuple(ranked_on), config.splits)
    channels = check_feature(setup, ranking_config.feature)
    resolve_counts(config, channels)
    for ranking in rankings:
        files.check_channels(ranking, channels)
    ranked = score_channels(
        subject,
        opened.variables,
        subjects.images_of(
            setup, ranking_config.splits, ranking_config.num_images, ranking_config.batch_size
        ),
        () if rankings else config.methods,
    )
    computed = rank.make_rankings(ranked, ranking_config)
    attacked = _without_random(rankings or computed, notes)
    plan = make_plan(config, attacked, ranked.activation, seed=setup.config.seed)
    if isinstance(subject, CanvasSubject):
        notes += _fit_read_outs(subject, opened)
    images = subjects.images_of(setup, config.splits, config.num_images, config.batch_size)
    swept = sweep(
        subject,
        opened.variables,
        images,
        plan,
        ranked.activation,
        masks_per_pass=config.masks_per_pass,
    )
    summary = Summary(subject.quantities, subject.boxes, plan, swept, bootstrap=config.bootstrap)
    result = Result(
        title=f"Channels of {ranking_config.feature}, removed: {opened.name} on "
        f"{setup.dataset.name}",
        config=plain.to_dict(setup.config),
        rows=[],
        probes=[],
        maps={
            "table_count": plan.table_count,
            "table_action": plan.table_action,
            "num_channels": plan.keep.shape[1],
            "classes": list(getattr(setup.dataset, "class_names", ())),
        },
        curves={},
        environment=environment(time.perf_counter() - started),
        notes=[
            *opened.notes,
            *_notes(opened, plan, swept, rankings),
            *ranked.notes,
            *notes,
        ],
        removals=summary.removals(),
    )
    workdir.make(out)
    files.write_all(computed, out)
    write_result(result, out, _per_image(swept, plan))
    write_report(result, out, warn, overlays=_overlays(opened, plan, ranked.activation[0], images))
    return result


def _known_splits(rankings: list[Ranking]) -> list[str]:
    """Splits that rankings of files were made on, where they are splits of the data."""
    named = [name for ranking in rankings for name in ranking.splits]
    return [name for name in named if name in ("train", "val", "test")]


def _without_random(rankings: list[Ranking], notes: list[str]) -> list[Ranking]:
    """Rankings but the random ones, which `random` channels, drawn many times, stand for.

    Raises:
      InputError: if none is left.
    """
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


def _notes(opened: Opened, plan: Plan, swept: Swept, rankings: list[Ranking]) -> list[str]:
    setup = opened.subject.setup
    config, ranking = setup.config.attack, setup.config.rank
    source = f"made on {' and '.join(ranking.splits)}"
    if rankings:
        named = sorted(set(_known_splits(rankings)))
        source = f"read from files (made on {' and '.join(named)})" if named else "read from files"
    unknown = [r.method for r in rankings if not r.splits]
    if unknown:
        source += (
            f"; {', '.join(unknown)} does not say which images it was made on, perhaps those that "
            "are evaluated here"
        )
    notes = [
        f"Rankings {source}; evaluated on {swept.num_images:,} images of "
        f"{' and '.join(config.splits)}.",
        f"The sweep of {len(plan.keep):,} sets of channels took {swept.seconds:.1f} s, "
        f"{swept.seconds / max(swept.plain_seconds, 1e-9):.1f} times one plain evaluation of the "
        f"same images ({swept.plain_seconds:.1f} s); running the network again for each set would "
        f"take {len(plan.keep):,} times.",
    ]
    if isinstance(setup.config, SegmentationConfig):
        notes += data_notes(setup)
    return notes


def _fit_read_outs(subject: CanvasSubject, opened: Opened) -> list[str]:
    """Fit linear read-outs of cell and class on the ranking images; see `CanvasSubject`."""
    setup, config = subject.setup, subject.setup.config.rank
    count = min(config.num_images or _READ_OUT_IMAGES, _READ_OUT_IMAGES)
    images = subjects.images_of(setup, config.splits, count, config.batch_size)
    subject.fit_read_outs(opened.variables, images)
    return [
        f"Linear read-outs of the pooled latent, of cell and class, were fitted on {len(images):,} "
        "ranking images with every channel in place."
    ]


def _per_image(swept: Swept, plan: Plan) -> dict[str, np.ndarray]:
    """Counts [masks, N, R', ...] of the masks that tables are made of, and whose they are."""
    chosen = {
        int(row): f"{arm.ranking}, {arm.region}, draw {arm.draw}"
        for arm, row in zip(plan.arms, plan.row, strict=True)
        if arm.count == plan.table_count and arm.action == plan.table_action
    }
    rows = {0: "none"} | chosen
    counts = {name: counts[list(rows)] for name, counts in swept.counts.items()}
    return counts | {"masks": np.array(list(rows.values()))}


def _overlays(opened: Opened, plan: Plan, mean: np.ndarray, images: Images) -> list[Overlay]:
    """What is answered before and after each ranking's attack on one region."""
    subject, config = opened.subject, opened.subject.setup.config.attack
    number = min(config.overlays, len(images))
    if not isinstance(subject, PixelSubject) or number == 0:
        return []
    regions = [name for name in subject.boxes if name != "overall"] or ["overall"]
    region = regions[0]
    arms = {
        f"{arm.ranking}, {arm.region}, {arm.count} of {plan.keep.shape[1]}": int(row)
        for arm, row in zip(plan.arms, plan.row, strict=True)
        if arm.count == plan.table_count
        and arm.action == plan.table_action
        and arm.draw == 0
        and arm.region == ("overall" if arm.ranking == RANDOM else region)
        and not arm.ranking.startswith(MATCHED)
    }
    chosen = images.get((np.arange(number) * len(images)) // number)

    @jax.jit
    def answers(variables: Any, pixels: jax.Array, keeps: jax.Array, fill: jax.Array):
        features = encode(subject, variables, subject.stimulus(pixels))
        return jax.vmap(lambda keep: subject.answers(variables, features, keep, fill))(keeps)

    rows = [0, *arms.values()]
    mean = plan.use_mean[rows[-1]] * mean
    found = np.asarray(answers(opened.variables, chosen["images"], plan.keep[rows], mean))
    titles = ["nothing removed", *arms]
    return [
        Overlay(
            chosen["images"][i],
            chosen["labels"][i],
            dict(zip(titles, found[:, i], strict=True)),
            subject.boxes[region],
        )
        for i in range(number)
    ]
