"""Four arms on handwritten digits, three seeds, two training lengths.

    gpool train configs/compare_digits.py --workdir RUN

Shows: GAPNet; a linear head; that head permuted at test only; PermuteNet; for
location and recognition, after 300 and 900 steps, with probes of each
frozen network from its latent, permuted latent and sorted latent.
Expected time: 45 minutes on two busy AMD EPYC cores (18 networks of 900 steps).
Measured: compare_digits in benchmarks/results/, and docs/findings/.
"""

from gpool_jax.config import (
    ComparisonConfig,
    DataConfig,
    ModelConfig,
    ProbeConfig,
    TrainConfig,
)

config = ComparisonConfig(
    num_seeds=3,
    data=DataConfig(source="digits", flip=False),
    model=ModelConfig(name="resnet18", width=0.125),
    train=TrainConfig(steps=900, eval_every=300, milestones=(300, 900)),
    probe=ProbeConfig(num_images=300, kinds=("ridge", "mlp")),
)
