"""AugShift and its rivals on CIFAR-100 at full length: ResNet-18, five arms, three seeds.

    gpool invariance configs/invariance_cifar100.py --data.dir TFDS_DIR --workdir RUN

Shows: what invariance_cifar10_cpu.py shows, at full width on 100 classes.
Expected time: about an hour on one data-centre GPU (15 networks of 60 epochs), not yet measured.
"""

import dataclasses

from gpool_jax.config import DataConfig
from gpool_jax.configs.invariance_cifar10 import config as cifar10

config = dataclasses.replace(cifar10, data=DataConfig(source="tfds", name="cifar100"))
