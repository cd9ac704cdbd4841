"""CIFAR-10 on canvases, one network, head and task at a time: 16 configs in one table.

    gpool train cifar10_resnet18_gapnet_location --data.dir TFDS_DIR --workdir RUN
    gpool train cifar10_resnet18_gapnet_location_cpu --data.dir TFDS_DIR --workdir RUN
    (n = 5 or 7: add --n 5 or --n 7; another seed: --seed 1)

Names: cifar10_{resnet18,vgg11}_{gapnet,permutenet}_{location,recognition}, and each with _cpu.
Shows: where on the canvas the image stands (location), or what it shows, wherever it stands
(recognition), read from maps that are pooled last (gapnet), or from a pooled vector whose
channels are permuted anew in each pass (permutenet).

Full length: 20 epochs of Adam at 1e-3 (betas 0.5, 0.999), batch 48, n = 3, as in the reference;
the checkpoint is picked on a validation split, not on test.
Expected time: an accelerator's job, not measured yet.

_cpu: an eighth of the width, and 200 steps (gapnet, location) or 1,600, for two CPU cores.
Expected time on two AMD EPYC cores, evaluation and probes included, and measured accuracy:

    resnet18 gapnet location          5 minutes (all 90,000 test pairs)   100.00 % (99.96 to 100.00)
    resnet18 gapnet recognition       about 7 minutes                      49.5 %
    resnet18 permutenet location      about 7 minutes                      47.4 %
    resnet18 permutenet recognition   about 7 minutes                      19.6 %
    vgg11, all four                   minutes; not measured

(the first: cifar10_gapnet_location in benchmarks/results/, chance 11.1; the others: seed 0, 1,000
test images, compare_cifar10_cpu there.)
"""

import dataclasses
import itertools

from gpool_jax.config import DataConfig, EvalConfig, ModelConfig, PositionConfig, TrainConfig

EPOCH = 937  # steps of 48 in 45,000 training images


def full_length(network: str, head: str, task) -> PositionConfig:
    """The reference's protocol."""
    return PositionConfig(
        task=task,
        data=DataConfig(source="tfds", name="cifar10"),
        model=ModelConfig(name=network, head=head),
        train=TrainConfig(steps=20 * EPOCH, eval_every=EPOCH),
    )


def on_cpu(config: PositionConfig) -> PositionConfig:
    """The same, thin and short; a gapnet finds the location at once."""
    train = TrainConfig(steps=1600, eval_every=400, num_val=1000, milestones=(400, 1600))
    evaluation = EvalConfig(num_images=1000)
    if config.model.head == "gapnet" and config.task == "location":
        train, evaluation = TrainConfig(steps=200, eval_every=100, num_val=1000), EvalConfig()
    model = dataclasses.replace(config.model, width=0.125)
    return dataclasses.replace(config, model=model, train=train, eval=evaluation)


# Name: what it is in one line, and the config.
configs = {}
for network, head, task in itertools.product(
    ("resnet18", "vgg11"), ("gapnet", "permutenet"), ("location", "recognition")
):
    name = f"cifar10_{network}_{head}_{task}"
    what = f"{head} {task} with {network} on CIFAR-10"
    config_full = full_length(network, head, task)
    configs[name] = (f"{what}: the reference protocol at full length.", config_full)
    configs[f"{name}_cpu"] = (f"{what}, thin and short, for two CPU cores.", on_cpu(config_full))
