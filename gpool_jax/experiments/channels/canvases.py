"""Classification networks as subjects: regions are cells of the canvas that an image stands in."""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels.images import Images, images_of, map_images
from gpool_jax.experiments.channels.subject import (
    Arrays,
    Variables,
    count_channels,
    encode,
    open_regions,
)
from gpool_jax.experiments.measures.quantity import Quantity
from gpool_jax.experiments.training import Setup
from gpool_jax.ops import probe, ridge
from gpool_jax.report.channel_result import REFIT
from gpool_jax.train import parallel

# A linear probe of so many images, each in every cell, is as good as one of more.
_PROBE_IMAGES = 2000


class CanvasSubject:
    """A GAPNet or one of its kin: every image in every cell; see `Subject`.

    What is measured is the head's accuracy on its task and, for both tasks, that of
    linear probes (kernel [C, K], bias [K]) of the pooled latent, which are fitted on the
    ranking images with all channels in place. Where it is the pooled map that loses channels,
    probes are also fitted again without them; see `refit`.
    """

    # The head is two matmuls; there is nothing to save.
    linear = None
    predict = None
    cluster: str | None = None
    class_names: tuple[str, ...] = ()

    def __init__(self, setup: Setup):
        """Check the feature and regions that are asked for, or raise an `InputError`."""
        config = setup.config
        model, n, task = config.model, config.n, config.task
        if model.head == "permutenet" or model.permute_at != "gap":
            raise InputError(
                "`model.head`: a network trained through permutation has no channels of its own to "
                "rank; got a permutenet, or one permuted before a stage."
            )
        self.setup, self.name = setup, f"{model.head} {model.name}, {task}"
        self.feature = config.rank.feature
        self.num_channels = count_channels(setup, self.feature)
        self.needed: tuple[str, ...] = (self.feature,)
        self.views, self.grid = n**2, n
        self.boxes, self._cells = open_regions(
            config.rank.regions,
            lambda box: ops.region_cells(box, n),
            empty=f"holds the centre of no cell of a canvas of `n` = {n}",
            whole="canvas",
        )
        self._num_answers = {"location": n**2, "recognition": setup.dataset.num_classes}
        self.probes: dict[str, tuple[jax.Array, jax.Array]] = {}
        self.moments: dict[str, ridge.Moments] = {}
        chance = {name: 1.0 / number for name, number in self._num_answers.items()}
        self.quantities = {"head": Quantity(f"{task}, head", "head", _ratio, chance=chance[task])}
        for name in chance:
            title = f"{name}, linear probe"
            self.quantities[name] = Quantity(title, name, _ratio, chance=chance[name])
            if self.pool is not None:
                title, again = f"{title} fitted again", f"{name}{REFIT}"
                self.quantities[again] = Quantity(title, again, _ratio, chance=chance[name])

    def prepare_attack(self, variables: Variables) -> list[str]:
        """Fit the probes on the ranking images."""
        config = self.setup.config.rank
        count = min(config.num_images or _PROBE_IMAGES, _PROBE_IMAGES)
        images = images_of(self.setup, config.splits, count, config.batch_size)
        self.fit_probes(variables, images)
        return [
            f"Linear probes of the pooled latent, for cell and class, were fitted on "
            f"{len(images):,} ranking images with every channel in place."
            + (
                " Others, by ridge regression, were fitted again without the channels that tables "
                "show removed: only what these miss is gone from the latent."
                if self.pool is not None
                else f" They were not fitted again: what is removed from {self.feature} changes "
                "all channels of the latent."
            )
        ]

    @property
    def pool(self) -> "CanvasSubject | None":
        """Itself, where the feature is the map that is pooled."""
        return self if self.feature == "pre_gap" else None

    def fit_probes(self, variables: Variables, images: Images) -> None:
        """Fit `probes` on images, every one in every cell, with all channels in place."""

        def pool(variables: Variables, _data: Arrays, inputs: Arrays) -> Arrays:
            latent = self.pooled(variables, inputs["images"])
            latent = latent.reshape(-1, self.views, latent.shape[-1])
            return {"latent": latent, **self._targets(inputs["labels"])}

        pooled = map_images(parallel.map_batch(pool), variables, {}, images, title="fit probes")
        latent = jnp.asarray(pooled["latent"].reshape(-1, pooled["latent"].shape[-1]))
        for name, number in self._num_answers.items():
            targets = jnp.asarray(pooled[name].reshape(-1))
            self.probes[name] = probe.fit_logistic(latent, targets, num_classes=number)
            if self.pool is not None:
                one_hot, fold = jax.nn.one_hot(targets, number), jnp.zeros(len(latent), int)
                moments = ridge.fold_moments(latent, one_hot, fold, num_folds=1)
                self.moments[f"{name}{REFIT}"] = moments

    def pooled(self, variables: Variables, images: jax.Array) -> jax.Array:
        """Pooled latents [B * cells, C] of images."""
        return encode(self, variables, self.stimulus(images))["gap"]

    def judge(self, logits: jax.Array, labels: jax.Array, probe: str) -> jax.Array:
        """Correct predictions and predictions, int32 [B, R', 2], of a probe fitted again."""
        return self._count_correct(logits, self._targets(labels)[probe.removesuffix(REFIT)])

    def stimulus(self, images: jax.Array) -> jax.Array:
        """Each image in every cell."""
        images = ops.normalise(images, self.setup.dataset.mean, self.setup.dataset.std)
        canvases = ops.place_everywhere(images, self.grid)
        return canvases.reshape(-1, *canvases.shape[2:])

    # The stimulus is one crop in every cell already.
    tiled = stimulus

    def region_losses(
        self, variables: Variables, features: Arrays, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean loss of the head over the cells of each measured region."""
        logits, _ = self._resume(variables, features)
        targets = self._targets(labels)[self.setup.config.task]
        losses = ops.cross_entropy(logits, targets.reshape(-1)).reshape(-1, self.views)
        cells = jnp.asarray(self._cells, jnp.float32)
        total = jnp.einsum("bc,rc->rb", losses, cells)
        return total / cells.sum(axis=1)[:, None], jnp.ones_like(total)

    def labelled(self, feature: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pooled channels [B, cells, C], and the class of the image in every cell [B, cells, K]."""
        pooled = ops.global_average_pool(feature)
        members = jax.nn.one_hot(labels, self.setup.dataset.num_classes)
        members = jnp.repeat(members[:, None], self.views, axis=1)
        return pooled.reshape(-1, self.views, pooled.shape[-1]), members

    def count(self, variables: Variables, features: Arrays, labels: jax.Array) -> Arrays:
        """Correct predictions and predictions, int32 [B, R', 2], of the head and each probe."""
        logits, latent = self._resume(variables, features)
        targets = self._targets(labels)
        counts = {"head": self._count_correct(logits, targets[self.setup.config.task])}
        for name, (kernel, bias) in self.probes.items():
            counts[name] = self._count_correct(latent @ kernel + bias[None, :], targets[name])
        return counts

    def _count_correct(self, logits: jax.Array, targets: jax.Array) -> jax.Array:
        cells = jnp.asarray(self._cells, jnp.int32)
        correct = (logits.argmax(-1).reshape(-1, self.views) == targets).astype(jnp.int32)
        hits = correct @ cells.T
        return jnp.stack([hits, jnp.broadcast_to(cells.sum(axis=1)[None], hits.shape)], axis=-1)

    def _resume(self, variables: Variables, features: Arrays) -> tuple[jax.Array, jax.Array]:
        """Logits and latent, computed on from the subject's feature."""
        logits, later = self.setup.model.apply(
            variables, features, start=self.feature, method="resume"
        )
        return logits, later["gap"]

    def _targets(self, labels: jax.Array) -> Arrays:
        """Correct answers [B, cells] of both tasks."""
        cell = jnp.arange(self.views, dtype=jnp.int32)
        shape = (len(labels), self.views)
        return {
            "location": jnp.broadcast_to(cell[None], shape),
            "recognition": jnp.broadcast_to(labels[:, None], shape),
        }


def _ratio(counts: np.ndarray) -> np.ndarray:
    hits, total = (counts[..., i].astype(np.float64) for i in (0, 1))
    return np.divide(hits, total, out=np.full(hits.shape, np.nan), where=total > 0)
