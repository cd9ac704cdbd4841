"""Class selectivity: the channels that tell classes apart, whatever they know of position."""

import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.images import Images
from gpool_jax.experiments.channels.scores import Scores, ScoreTable
from gpool_jax.experiments.channels.subject import Arrays, Subject, Variables, encode
from gpool_jax.train import parallel


def score_classes(subject: Subject, variables: Variables, images: Images) -> ScoreTable:
    """Share of each channel's variance that lies between classes, for the whole image.

    For networks of whole images it is the variance of the pooled channel, for networks of pixels
    that of the map. A ranking for position is worth its name if removing its channels costs
    something else, or in other places, than removing these.
    """

    def look(variables: Variables, _data: Arrays, inputs: Arrays) -> Arrays:
        features = encode(subject, variables, subject.stimulus(inputs["images"]))
        x, members = subject.labelled(features[subject.feature], inputs["labels"])
        x, members = x.astype(jnp.float32), members.astype(jnp.float32)
        return {
            "count": members.sum(axis=1),
            "sum": jnp.einsum("bpk,bpc->bkc", members, x),
            "square": jnp.einsum("bpk,bpc->bc", members, x**2),
        }

    run, total = parallel.map_batch(look), dict.fromkeys(("count", "sum", "square"), np.zeros(()))
    variables = parallel.replicate(variables)
    # Summed batch by batch: a sum for every image and class would fill the memory.
    for inputs, mask in images.batches("classes"):
        found = parallel.unshard(run(variables, parallel.replicate({}), parallel.shard(inputs)))
        for name, values in found.items():
            total[name] = total[name] + values[mask].sum(axis=0, dtype=np.float64)
    share = ops.between_class_share(total["count"], total["sum"], total["square"])
    return {("class", "overall"): Scores(share)}
