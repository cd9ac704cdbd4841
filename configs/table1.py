"""The paper's first table on CIFAR-10: n, padding, network, head and task, in one comparison.

    gpool train table1 --data.dir TFDS_DIR --workdir RUN --only '*gapnet*resnet18*zeros*'
    gpool train table1_half --data.dir TFDS_DIR --workdir RUN2
    gpool train table1_thin --data.dir TFDS_DIR --workdir RUN3 --only '*n3*'

Names: table1 (the reference's protocol: GAPNet and PermuteNet, location and recognition, n = 3,
5 and 7, ResNet-18 and VGG-11, six paddings; one seed, 144 networks), table1_half (the same length
at half of the width, ResNet-18 with zeros and n = 3, its curve in five checkpoints), table1_thin (a
quarter of the width, a short training, five seeds, and the linear head as control).
Shows: which arm knows where the image is or what it shows, tested in every cell, and as the
reference tests; a run that is finished is not repeated, whatever --only asks for next.
Expected time: table1 an accelerator's job, not measured yet; table1_half 2.5 hours a network,
table1_thin 6 (n = 3) to 15 minutes (n = 7), on two quiet AMD EPYC cores.
"""

from gpool_jax.config import (
    ComparisonConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    ProbeConfig,
    TrainConfig,
)

EPOCH = 937  # steps of 48 in 45,000 training images
CIFAR10 = DataConfig(source="tfds", name="cifar10")

configs = {
    "table1": (
        "The paper's first table at full length: six paddings, two networks, n = 3, 5, 7.",
        ComparisonConfig(
            heads=("gapnet", "permutenet"),
            networks=("resnet18", "vgg11"),
            paddings=("zeros", "circular", "reflect", "replicate", "partial", "resize"),
            ns=(3, 5, 7),
            data=CIFAR10,
            train=TrainConfig(steps=20 * EPOCH, eval_every=EPOCH),
            eval=EvalConfig(reference=True),
            probe=ProbeConfig(num_images=500, kinds=("ridge",)),
        ),
    ),
    "table1_half": (
        "The reference's length at half of the width: ResNet-18, zeros, n = 3, with its curve.",
        ComparisonConfig(
            heads=("gapnet", "permutenet"),
            ns=(3,),
            data=CIFAR10,
            model=ModelConfig(name="resnet18", width=0.5),
            train=TrainConfig(
                steps=20 * EPOCH,
                eval_every=EPOCH,
                num_val=1000,
                milestones=tuple(EPOCH * epochs for epochs in (1, 2, 5, 10, 20)),
            ),
            eval=EvalConfig(num_images=2000, reference=True),
            probe=ProbeConfig(num_images=500, kinds=("ridge", "mlp")),
        ),
    ),
    "table1_thin": (
        "Thin and short, with a linear head as control: n = 3, 5, 7, five seeds.",
        ComparisonConfig(
            ns=(3, 5, 7),
            num_seeds=5,
            data=CIFAR10,
            model=ModelConfig(name="resnet18", width=0.25),
            train=TrainConfig(steps=1600, eval_every=400, num_val=1000, milestones=(400, 1600)),
            eval=EvalConfig(num_images=1000, reference=True),
            probe=ProbeConfig(num_images=500, kinds=("ridge", "mlp")),
        ),
    ),
}
