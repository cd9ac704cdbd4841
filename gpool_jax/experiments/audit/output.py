"""The files of an audit: audit.json, channels.csv, the page; and the progress on stderr."""

import csv
import io
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpool_jax import files
from gpool_jax.experiments import workdir
from gpool_jax.experiments.audit import erasure
from gpool_jax.experiments.audit.latents import Latents
from gpool_jax.networks import Network
from gpool_jax.report import audit_page
from gpool_jax.report.audit_result import AuditResult, write_audit


def write(result: AuditResult, out: Path, owner: workdir.Owner) -> list[Path]:
    """Write everything into a folder, which is made; returns the paths to show.

    Raises:
      InputError: if another process writes to the folder.
      RunError: if a file cannot be written.
    """
    result.environment["owner"] = {
        "command": owner.command,
        "name": owner.name,
        "digest": owner.digest,
    }
    page = audit_page.render(result)
    with workdir.hold(out):
        files.write(out / "channels.csv", _to_csv(result))
        files.write(out / "report.html", page)
        write_audit(result, out / "audit.json")
    return [out / "audit.json", out / "report.html"]


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
    """A bar over the inputs that networks are run on; silent without tqdm."""

    def __init__(self, *, quiet: bool):
        self._quiet, self._bar, self._name = quiet, None, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` inputs of a network are done."""
        if self._quiet:
            return
        if name != self._name:
            self.__exit__()
            self._name, self._bar = name, _new_bar(name, total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)


def _new_bar(name: str, total: int) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, desc=name, unit="img", dynamic_ncols=True, mininterval=0.5)
