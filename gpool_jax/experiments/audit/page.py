"""`gp.audit`: an audit from Python, and what a notebook shows of it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpool_jax.config import AuditConfig
from gpool_jax.data.images import collection
from gpool_jax.errors import InputError
from gpool_jax.experiments import workdir
from gpool_jax.experiments.audit import audit as auditing
from gpool_jax.experiments.audit import output
from gpool_jax.networks import Network
from gpool_jax.report import audit_figures, audit_page
from gpool_jax.report.audit_result import AuditResult, Line


@dataclasses.dataclass(frozen=True)
class Table:
    """The lines of one question."""

    rows: list[dict[str, Any]]

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`, one row a line."""
        import pandas

        return pandas.DataFrame(self.rows)


@dataclasses.dataclass(frozen=True)
class Page:
    """An audit: `page.position.to_pandas()`, `page.plot()`, and itself in a notebook.

    Attributes:
      result: everything that was measured.
    """

    result: AuditResult

    def table(self, question: str) -> Table:
        """The lines of a question, such as "position", of all networks."""
        rows = [
            {"network": network.name, **dataclasses.asdict(line)}
            for network in self.result.networks
            for line in network.lines
            if line.question == question
        ]
        if not rows:
            known = sorted({x.question for net in self.result.networks for x in net.lines})
            raise InputError(f"`question` must be one of {', '.join(known)}; got {question}.")
        return Table(rows)

    def __getattr__(self, name: str) -> Table:
        if name == "result" or name.startswith("_"):  # asked for before there is one, as by `copy`
            raise AttributeError(name)
        try:
            return self.table(name)
        except InputError as error:
            raise AttributeError(str(error)) from None

    def line(self, question: str, quantity: str, condition: str, **fields: str) -> Line | None:
        """A line of the first network; see `Audited.line`."""
        return self.result.networks[0].line(question, quantity, condition, **fields)

    def plot(self) -> Any:
        """The figure of position and content, a matplotlib figure."""
        return audit_figures.draw_orders(self.result)[-1]

    def save(self, folder: str | Path) -> list[Path]:
        """Write audit.json, channels.csv and report.html into a folder; return their paths."""
        names = [network.name for network in self.result.networks]
        owner = workdir.Owner("audit", " and ".join(names), workdir.digest(names))
        workdir.check_writable(Path(folder))
        workdir.check_owner(Path(folder), owner)
        return output.write(self.result, Path(folder), owner)

    def __str__(self) -> str:
        return audit_page.format_lines(self.result)

    def _repr_html_(self) -> str:
        return audit_page.render(self.result)


def audit(
    networks: Network | Sequence[Network],
    images: Any = None,
    *,
    labels: Any = None,
    warn: Callable[[str], None] = print,
    **options: Any,
) -> Page:
    """Put the four questions to networks.

    Args:
      networks: one, or several with different names; from `gp.from_torch` and its like.
      images: a folder; an array uint8 [N, H, W, 3] or an iterable of arrays [H, W, 3]; None:
        crops of two sample photographs.
      labels: int [N], if there are any.
      warn: receives a line about images that are left out.
      options: fields of `AuditConfig`, such as `n` or `num_images`.

    Raises:
      InputError: for a field that is unknown, images that cannot be read, or too few.
    """
    unknown = set(options) - {field.name for field in dataclasses.fields(AuditConfig)}
    if unknown:
        raise InputError(f"unknown option of an audit: {', '.join(sorted(unknown))}.")
    config = AuditConfig(**options)
    listed = images is None or isinstance(images, str | Path)
    count = config.num_images if listed or "num_images" in options else None
    found = collection.load(images, count, seed=config.seed, labels=labels, warn=warn)
    several = [networks] if isinstance(networks, Network) else list(networks)
    return Page(auditing.audit(several, found, config))
