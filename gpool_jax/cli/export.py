"""`gpool export`: a trained network as one file that JAX runs without this package."""

from pathlib import Path

from gpool_jax.cli.options import Export
from gpool_jax.cli.parse import read, split_target
from gpool_jax.cli.session import start, warner
from gpool_jax.cli.streams import say
from gpool_jax.errors import InputError


def export(words: list[str]) -> int:
    """Export the best checkpoint of a run."""
    target, rest = split_target(words)
    from gpool_jax.config import PositionConfig
    from gpool_jax.experiments import workdir

    run = Path(target or "")
    # Without a run there is only --help to print.
    config = PositionConfig() if target is None else workdir.read_config(run)
    options: Export = read("export", rest, config, target=target)
    if target is None:
        raise InputError("`run`: export needs the folder of a training run.")
    out = Path(options.workdir) if options.workdir else run / "export"
    owner = workdir.own(run, "export")
    workdir.check_writable(out)
    workdir.check_owner(out, owner)
    start(options)
    from gpool_jax.experiments import export as exporting

    exported = exporting.export_run(
        run,
        options.platforms,
        config=options.config,
        trust_code=options.trust_code,
        warn=warner(options),
    )
    paths = exporting.write(exported, out, owner)
    if options.json:
        say((out / exporting.FACTS).read_text(encoding="utf-8").rstrip("\n"))
        return 0
    if not options.quiet:
        facts = exported.facts
        outputs = ", ".join(f"{name} {shape}" for name, shape in facts["outputs"].items())
        say(
            f"{facts['model']}, step {facts['step']}: images uint8 {facts['images']} to {outputs}, "
            f"on {', '.join(facts['platforms'])}.\n"
        )
    say("\n".join(map(str, paths)))
    return 0
