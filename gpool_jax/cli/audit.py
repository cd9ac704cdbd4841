"""`gpool audit`: the four questions put to any network, on any images."""

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Audit
from gpool_jax.cli.parse import read
from gpool_jax.cli.session import start, warner
from gpool_jax.cli.streams import complain, say
from gpool_jax.config import AuditConfig
from gpool_jax.errors import InputError

# The exit code of a condition that holds: 1 is that of a fault, 2 that of bad input.
_FAILED = 3
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {">": operator.gt, "<": operator.lt}


def audit(words: list[str]) -> int:
    """Audit one or several networks, and write one page."""
    names = []
    while words and not words[0].startswith("-"):
        if not words[0]:
            raise InputError("`network` must not be empty.")
        names.append(words[0])
        words = words[1:]
    options: Audit = read("audit", words, AuditConfig(), target=" ".join(names) or None)
    if not names:
        raise InputError(
            "`network`: audit needs a network: a RUN, FILE --model NAME, timm:NAME, "
            "torchvision:NAME, onnx:FILE or python:MODULE:FUNCTION."
        )
    if options.workdir is None:
        raise InputError("`--workdir` must name the folder of the page; got none.")
    _check_exports(options, len(names))
    conditions = [_condition(text) for text in options.fail_if]
    from gpool_jax.config import checks
    from gpool_jax.experiments import workdir

    checks.check(options.config)
    if options.config.images and _lies_in(options.workdir, options.config.images):
        raise InputError(
            f"`--workdir` must not lie in the folder of images; got {options.workdir}."
        )
    out, warn = Path(options.workdir), warner(options)
    owner = workdir.Owner("audit", " and ".join(names), workdir.digest(names))
    workdir.check_writable(out)
    workdir.check_owner(out, owner)
    start(options)
    from gpool_jax.experiments.audit import output

    result = _run(names, options, warn)
    found = output.write(result, out, owner, warn=warn)
    if options.json:
        say((out / "audit.json").read_text(encoding="utf-8").rstrip("\n"))
        return _judge(result, conditions)
    if not options.quiet:
        from gpool_jax.report.audit_page import format_lines

        say(f"{format_lines(result)}\n")
    say("\n".join(str(path) for path in found))
    return _judge(result, conditions)


def _run(names: list[str], options: Audit, warn: Callable[[str], None]) -> Any:
    from gpool_jax.data.images import collection
    from gpool_jax.experiments import targets
    from gpool_jax.experiments.audit import audit as auditing
    from gpool_jax.experiments.audit import output

    config: AuditConfig = options.config
    given = {"model": options.model, "checkpoint": options.checkpoint, "layer": options.layer}
    trust = options.trust_code
    networks = [targets.open_network(n, warn=warn, trust_code=trust, **given) for n in names]
    images = collection.load(config.images, config.num_images, seed=config.seed, warn=warn)

    def inspect(network: Any, latents: Any) -> None:
        if options.export_eraser:
            output.write_eraser(network, latents, Path(options.export_eraser))
        if options.export_latents:
            output.write_latents(network, latents, Path(options.export_latents))

    with output.Bar() as bar:
        return auditing.audit(networks, images, config, progress=bar.advance, inspect=inspect)


def _check_exports(options: Audit, num_networks: int) -> None:
    """Raise if a file that is exported cannot be written, or would replace what is no export."""
    exports = {"eraser": options.export_eraser, "latents": options.export_latents}
    for what, name in exports.items():
        if name is None:
            continue
        option, path = f"--export-{what}", Path(name)
        if num_networks > 1:
            raise InputError(f"`{option}` goes with one network; got {num_networks}.")
        if path.suffix != ".npz":
            raise InputError(f"`{option}` must end in .npz; got {name}.")
        if not path.absolute().parent.is_dir():
            raise InputError(f"`{option}`: there is no folder for {name}.")
        if path.exists() and not _is_export(path):
            raise InputError(f"`{option}`: {name} is there and is no earlier export; it is kept.")
    if None is not exports["eraser"] == exports["latents"]:
        raise InputError("`--export-latents` must name another file than `--export-eraser`.")


def _is_export(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as arrays:
            return {"network.npy", "stage.npy"} <= set(arrays.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _lies_in(path: str, folder: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def _condition(text: str) -> tuple[str, str, float]:
    """Split "shift.answers_changed.crop > 0.2" into its name, sign and number."""
    from gpool_jax.errors import nearest
    from gpool_jax.report.audit_result import LINE_QUESTIONS

    for sign in _OPERATORS:
        name, found, number = (part.strip() for part in text.partition(sign))
        if not found:
            continue
        question, quantity = (*name.split("."), "", "")[:2]
        if question not in LINE_QUESTIONS:
            known = ", ".join(LINE_QUESTIONS)
            hint = nearest(question, LINE_QUESTIONS)
            raise InputError(f"`--fail-if` must begin with one of {known}; got {text!r}.{hint}")
        quantities = [each.replace(" ", "_") for each in LINE_QUESTIONS[question]]
        if not quantity.startswith(tuple(quantities)):
            known = ", ".join(f"{question}.{each}" for each in quantities)
            hint = nearest(quantity, quantities)
            raise InputError(f"`--fail-if` must go on with one of {known}; got {text!r}.{hint}")
        try:
            value = float(number)
        except ValueError:
            break
        if value != value:
            break
        return name, sign, value
    raise InputError(f"`--fail-if` must be like 'shift.answers_changed.crop > 0.2'; got {text!r}.")


def _judge(result: Any, conditions: list[tuple[str, str, float]]) -> int:
    """3 if a condition holds for a network, which is said; else 0."""
    from gpool_jax.errors import listed, nearest
    from gpool_jax.report.audit_result import measures

    failed = False
    for network in result.networks:
        found = measures(network)
        for name, sign, number in conditions:
            if name not in found:
                alike = [each for each in found if each.partition(".")[0] == name.partition(".")[0]]
                raise InputError(
                    f"`--fail-if`: {name} is not measured of {network.name}, but "
                    f"{listed(alike) or 'nothing of that question'}.{nearest(name, found)}"
                )
            if _OPERATORS[sign](found[name], number):
                complain(f"{network.name}: {name} is {found[name]:.3f}, which is {sign} {number:g}")
                failed = True
    return _FAILED if failed else 0
