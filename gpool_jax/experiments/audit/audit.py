"""Audit networks: every question to each, beside its untrained twins, on the same images."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.config import AuditConfig, checks
from gpool_jax.data.images.collection import Images
from gpool_jax.errors import InputError
from gpool_jax.experiments.audit import channels, erasure, position, shift, verdicts
from gpool_jax.experiments.audit.latents import Latents, collect, num_inputs, stimuli
from gpool_jax.experiments.audit.scores import Score, make_lines, share_lines
from gpool_jax.networks import Network
from gpool_jax.report.audit_result import Audited, AuditResult
from gpool_jax.report.environment import environment

_NUM_STIMULI = 4
_THUMBNAIL = 32, 32  # pixels
# Fewer images leave a fold, or an image to match, without others.
_MIN_IMAGES = 10


@dataclasses.dataclass(frozen=True)
class _Measured:
    scores: list[Score]
    channels: channels.Channels
    notes: list[str]


def audit(
    networks: Sequence[Network],
    images: Images,
    config: AuditConfig,
    *,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    inspect: Callable[[Network, Latents], None] = lambda network, latents: None,
) -> AuditResult:
    """Put the four questions to each network, on the same images.

    Args:
      networks: at least one; names must differ.
      images: what they are shown.
      config: how.
      progress: is told a network's name, and how many inputs of how many are done.
      inspect: is given each network's pooled vectors.

    Raises:
      InputError: if there are too few images, or a network cannot be asked.
    """
    started = time.perf_counter()
    checks.check(config)
    if len(images) < _MIN_IMAGES:
        raise InputError(f"`images`: an audit needs at least {_MIN_IMAGES}; got {len(images)}.")
    if not networks:
        raise InputError("`network`: there is none to audit.")
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise InputError(
            f"`network`: names must differ; got {', '.join(names)}. A network is named by `name=` "
            "where it is made, a run by its folder."
        )
    asked = [_resolve(network, config) for network in networks]
    seconds: list[float] = []
    pairs = zip([_timed(network, seconds) for network in networks], asked, strict=True)
    audited = [_audit_one(net, images, own, progress, inspect) for net, own in pairs]
    shown = np.arange(min(_NUM_STIMULI, len(images)))
    strip = np.asarray(stimuli(config, networks[0], images, shown))
    driving = sorted({row for network in audited for rows in network.drivers for row in rows})
    thumbnails = images.batch(driving, _THUMBNAIL)
    size = f"{config.n} x {config.n}"
    about = environment(time.perf_counter() - started)
    return AuditResult(
        title=f"Audit of {', '.join(names)} on {len(images)} images in {size} cells",
        config=dataclasses.asdict(config),
        networks=audited,
        notes=[*images.notes, *_caveats(config)],
        environment=about | {"pass_seconds": round(sum(seconds), 1)},
        stimuli=strip,
        thumbnails=dict(zip(driving, thumbnails, strict=True)),
    )


def _resolve(network: Network, config: AuditConfig) -> AuditConfig:
    """The config for a network, or an `InputError` if it cannot be asked so."""
    side = min(network.preprocess.size)
    if config.max_shift is None:
        config = dataclasses.replace(config, max_shift=min(16, max(1, side // 8)))
    if network.preprocess.channels not in (1, 3):
        raise InputError(
            f"`network`: {network.name} takes {network.preprocess.channels} colour channels; an "
            "audit shows images of 1 or 3."
        )
    for name, most in (("n", side), ("max_shift", side - 1)):
        if getattr(config, name) > most:
            raise InputError(
                f"`{name}` must be at most {most} for inputs of {side} pixels; got "
                f"{getattr(config, name)}."
            )
    return config


def _timed(network: Network, seconds: list[float]) -> Network:
    """The network and its twins; `seconds` grows by what each pass takes, compilation included."""

    def encode(inputs: jax.Array) -> dict[str, jax.Array]:
        started = time.perf_counter()
        maps = jax.block_until_ready(network.encode(inputs))
        seconds.append(time.perf_counter() - started)
        return maps

    make = network.untrained
    untrained = None if make is None else lambda seed: _timed(make(seed), seconds)
    return dataclasses.replace(network, encode=encode, untrained=untrained)


def _audit_one(
    network: Network,
    images: Images,
    config: AuditConfig,
    progress: Callable[[str, int, int], None],
    inspect: Callable[[Network, Latents], None],
) -> Audited:
    total = (1 + (config.twins if network.untrained else 0)) * num_inputs(config, len(images))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(network.name, done, total)

    notes = list(network.notes)
    latents = collect(config, network, images, advance=advance)
    logits = None if network.classify is None else network.classify(jnp.asarray(latents.plain))
    if logits is not None and not jnp.isfinite(logits).all():
        raise InputError(f"`network`: the answers of {network.name} are not finite.")
    inspect(network, latents)
    own = _measure(config, network, latents, images.labels)
    twins = []
    if network.untrained is None:
        notes.append(
            "There is no untrained twin of this network: numbers on position say nothing about "
            "what training did."
        )
    else:
        for number in range(config.twins):
            twin = network.untrained(config.seed + number)
            seen = collect(config, twin, images, advance=advance)
            if np.array_equal(seen.plain, latents.plain):
                notes.append(
                    f"The untrained twin of seed {config.seed + number} is the network itself, and "
                    "left out: the network is not trained, or what makes it draws its weights from "
                    "a seed of its own."
                )
                continue
            twins.append(_measure(config, twin, seen, images.labels))
    notes += own.notes + _confidence(network, latents)
    lines = make_lines(own.scores, [twin.scores for twin in twins], bootstrap=config.bootstrap)
    for control, measured in (("", [own]), ("untrained", twins)):
        lines += share_lines(
            [each.scores for each in measured],
            stage=network.feature,
            control=control,
            bootstrap=config.bootstrap,
        )
    latent = latents.cells[network.feature]
    outputs = None
    if network.classify is not None:
        outputs = jax.eval_shape(network.classify, jnp.asarray(latents.plain[:1])).shape[-1]
    found = Audited(
        name=network.name,
        stage=network.feature,
        num_channels=latent.shape[2],
        num_outputs=outputs,
        lines=lines,
        verdicts={},
        notes=notes,
        channels={name: values.tolist() for name, values in own.channels.columns.items()},
        tuning=own.channels.tuning.tolist(),
        drivers=own.channels.drivers.tolist(),
    )
    return dataclasses.replace(found, verdicts=verdicts.judge(found))


def _measure(
    config: AuditConfig, network: Network, latents: Latents, labels: np.ndarray | None
) -> _Measured:
    """Everything that is asked of one network's vectors."""
    stage = network.feature
    scores: list[Score] = []
    for name, latent in latents.cells.items():
        scores += position.measure(config, latent, name, labels, pooled=name == stage)
    described = channels.describe(config, latents, stage)
    classify = None if network.classify is None else jax.jit(network.classify)
    removed, notes = channels.remove(config, latents, stage, described, classify)
    scores += described.scores + removed
    scores += erasure.measure(config, latents, stage, classify)
    scores += shift.measure(config, latents, stage, classify)
    return _Measured(scores, described, notes)


def _confidence(network: Network, latents: Latents) -> list[str]:
    """A caveat where canvases are far from what the network answers on."""
    if network.classify is None:
        return ["The network has no head: what depends on its channels is read by probes alone."]
    classify = jax.jit(network.classify)

    def top(latent: np.ndarray) -> float:
        return float(jax.nn.softmax(classify(latent)).max(-1).mean())

    cells = latents.cells[network.feature]
    on_canvas, on_plain = top(cells.reshape(-1, cells.shape[-1])), top(latents.plain)
    note = (
        f"Top-1 confidence is {100 * on_canvas:.0f} % on canvases and {100 * on_plain:.0f} % on "
        "plain images"
    )
    far = on_canvas < 0.5 * on_plain
    return [f"{note}: canvases are far from what the network knows." if far else f"{note}."]


def _caveats(config: AuditConfig) -> list[str]:
    notes = []
    if config.background == "mean":
        notes.append(
            "The border of an image on a background of the mean colour is a cue of its own; "
            "--background blur, noise or image give others."
        )
    return notes
