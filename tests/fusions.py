"""XLA's fusion emitters for CPUs, which a program of the tests does without where it can."""

from importlib import metadata

OPTION = "xla_cpu_use_fusion_emitters"
# XLA dies of a flag that it does not know, as that of 0.11.2 does: none of 0.11 is asked.
OPTIONAL = tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2]) < (0, 11)
# Without its fusions, a program of few optimisations compiles in less than half the time.
WITHOUT = f"--{OPTION}=false" if OPTIONAL else ""
WITH: dict[str, str | bool] = {OPTION: True} if OPTIONAL else {}
