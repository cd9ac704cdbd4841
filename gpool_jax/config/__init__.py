"""Frozen dataclasses: everything a run depends on, one class per experiment.

Imports nothing heavy, so that the command line answers at once.
"""

from gpool_jax.config.audit import AuditConfig
from gpool_jax.config.kinds import (
    DEMO,
    KINDS,
    ComparisonConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
    SegmentationConfig,
)
from gpool_jax.config.measurements import (
    AttackConfig,
    ConsistencyConfig,
    EvalConfig,
    PixelEvalConfig,
    ProbeConfig,
    RankConfig,
)
from gpool_jax.config.sections import (
    DataConfig,
    ModelConfig,
    PixelDataConfig,
    PixelLossConfig,
    SegmenterConfig,
    ShiftConfig,
    TrainConfig,
)

__all__ = [
    "DEMO",
    "KINDS",
    "AttackConfig",
    "AuditConfig",
    "ComparisonConfig",
    "ConsistencyConfig",
    "DataConfig",
    "EvalConfig",
    "InvarianceComparisonConfig",
    "InvarianceConfig",
    "ModelConfig",
    "PixelDataConfig",
    "PixelEvalConfig",
    "PixelLossConfig",
    "PositionConfig",
    "ProbeConfig",
    "RankConfig",
    "SegmentationConfig",
    "SegmenterConfig",
    "ShiftConfig",
    "TrainConfig",
]
