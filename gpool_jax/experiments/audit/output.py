"""The files of an audit: audit.json, channels.csv, the page; and the progress on stderr."""

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpool_jax import files
from gpool_jax.experiments import workdir
from gpool_jax.experiments.audit import erasure
from gpool_jax.experiments.audit.latents import Latents
from gpool_jax.networks import Network
from gpool_jax.report import audit_page, pages
from gpool_jax.report.audit_result import AuditResult, write_audit
from gpool_jax.train.events import Progress


def write(
    result: AuditResult,
    out: Path,
    owner: workdir.Owner,
    *,
    warn: Callable[[str], None] = print,
) -> list[Path]:
    """Write everything into a folder, which is made; returns the paths to show.

    Raises:
      InputError: if another process writes to the folder.
      RunError: if a file cannot be written.
    """
    about = result.environment | {"owner": dataclasses.asdict(owner)}
    result = dataclasses.replace(result, environment=about)
    with workdir.hold(out):
        # First of all, since it says whose the others are.
        write_audit(result, out / "audit.json")
        files.write(out / "channels.csv", _to_csv(result))
        page = pages.write(out / "report.html", lambda: audit_page.render(result, out), warn)
    written = [out / "audit.json", out / "channels.csv"]
    return written if page is None else [*written, page]


def write_eraser(network: Network, latents: Latents, path: Path) -> None:
    """Write the eraser of the cell, fitted on all images: x -> x @ matrix.T + bias.

    The file holds `matrix` [C, C], `bias` [C], and the names of the network and its stage.
    """
    eraser = erasure.fit(latents.cells[network.feature])
    with files.writing(path) as file:
        np.savez(
            file,
            matrix=eraser.matrix,
            bias=eraser.bias,
            network=np.array(network.name),
            stage=np.array(network.feature),
        )


def write_latents(network: Network, latents: Latents, path: Path) -> None:
    """Write the pooled vectors of a network, float32, images first; see `Latents`.

    The file holds `cells STAGE` [N, M, C] for each stage, `plain`, `mirrored` and `centred`
    [N, C], `shifted PROTOCOL` [N, D, V, C], and the names of the network and its stage.
    """
    arrays = {f"cells {stage}": values for stage, values in latents.cells.items()}
    arrays |= {f"shifted {protocol}": values for protocol, values in latents.shifted.items()}
    arrays |= {"plain": latents.plain, "mirrored": latents.mirrored, "centred": latents.centred}
    arrays |= {"network": np.array(network.name), "stage": np.array(network.feature)}
    with files.writing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _to_csv(result: AuditResult) -> str:
    """One row a channel and network."""
    text = io.StringIO()
    columns = list(result.networks[0].channels)
    table = csv.writer(text)
    table.writerow(["network", "channel", *columns])
    for network in result.networks:
        values = zip(*(network.channels[name] for name in columns), strict=True)
        for channel, row in enumerate(values):
            table.writerow([network.name, channel, *(f"{value:.6g}" for value in row)])
    return text.getvalue()


class Bar:
    """A bar over the inputs of one network after the other."""

    def __init__(self) -> None:
        self._name, self._done = "", 0
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._progress is not None:
            self._progress.close()

    def advance(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` inputs of a network are done."""
        if self._progress is None or name != self._name:
            self.__exit__()
            self._name, self._done, self._progress = name, 0, Progress(total, 0, 1, name)
        self._progress.advance(done - self._done)
        self._done = done
