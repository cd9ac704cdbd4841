"""Pages of the reference that are made from the code: commands, configurations, functions."""

import ast
import contextlib
import dataclasses
import inspect
import io
import os
import textwrap
from pathlib import Path
from typing import Any

import gpool_jax
from gpool_jax import models, ops
from gpool_jax.cli import main as cli
from gpool_jax.cli.options import COMMANDS
from gpool_jax.config import AuditConfig
from gpool_jax.config.kinds import KINDS

MODULES = {"gpool_jax": gpool_jax, "ops": ops, "models": models}


def write(folder: Path) -> None:
    """Write all pages; those that have not changed are left alone, so that builds are short."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"commands.md": commands(), "configs.md": configs()}
    pages |= {f"{name}.md": api(name, module) for name, module in MODULES.items()}
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def commands() -> str:
    """The output of `gpool help COMMAND`, for every command."""
    parts = ["# Commands\n", _code(_help([]))]
    for name in COMMANDS:
        parts.append(f"## gpool {name}\n\n{_code(_help(['help', name]))}")
    return "\n".join(parts)


def _help(words: list[str]) -> str:
    printed = io.StringIO()
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        cli.main(words or ["--help"])
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(lines).strip("\n")


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n"


def configs() -> str:
    """Every field of every configuration, with its default and its meaning."""
    parts = [
        "# Configurations\n",
        "A config file makes one of the first five and calls it `config`; each of their fields is "
        "an option of `gpool train`, too. A section's defaults are those of its class, unless the "
        "kind says otherwise.\n",
    ]
    sections: dict[str, type] = {}
    for name, kind in KINDS.items():
        about = f"{inspect.getdoc(kind)}\n\n{_fields(kind, sections)}{_own_defaults(kind)}"
        parts.append(f"## {name}\n\n{about}")
    for name, kind in sections.items():
        parts.append(f"## {name}\n\n{inspect.getdoc(kind)}\n\n{_fields(kind, {})}")
    about = inspect.getdoc(AuditConfig)
    parts.append(f"## AuditConfig\n\n{about}\n\n{_fields(AuditConfig, {})}")
    return "\n".join(parts)


def _fields(kind: type, sections: dict[str, type]) -> str:
    texts = _texts(kind)
    lines = ["| field | default | |", "|---|---|---|"]
    for field in dataclasses.fields(kind):
        default = field.default
        text = texts.get(field.name, "")
        if dataclasses.is_dataclass(default):
            sections.setdefault(type(default).__name__, type(default))
            shown = f"[{type(default).__name__}](#{type(default).__name__.lower()})"
        else:
            shown = f"`{default!r}`"
        lines.append(f"| `{field.name}` | {_cell(shown)} | {_cell(text)} |")
    return "\n".join(lines) + "\n"


def _own_defaults(kind: type) -> str:
    """The defaults of a kind that are not those of its sections' classes."""
    changed = []
    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(field.default):
            continue
        plain = type(field.default)()
        for part in dataclasses.fields(plain):
            value = getattr(field.default, part.name)
            if value != getattr(plain, part.name):
                changed.append(f"`{field.name}.{part.name}` {_cell(f'`{value!r}`')}")
    return f"\nHere the defaults are {', '.join(changed)}.\n" if changed else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")


def _texts(kind: type) -> dict[str, str]:
    """The strings under the fields of a class."""
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    found = {}
    for field, following in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(following, ast.Expr):
            found[field.target.id] = following.value.value
    return found


def api(name: str, module: Any) -> str:
    """The public names of a module, with their docstrings."""
    title = "gpool_jax" if name == "gpool_jax" else f"gpool_jax.{name}"
    lines = [f"# {title}\n", f"{inspect.getdoc(module).splitlines()[0]}\n"]
    names = getattr(module, "__all__", None) or sorted(vars(module))
    for public in names:
        value = getattr(module, public)
        if public.startswith("_") or inspect.ismodule(value):
            continue
        if inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value)):
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            home = f"{value.__module__}.{public}"
            lines.append(f"```{{eval-rst}}\n.. {kind}:: {home}\n```\n")
    return "\n".join(lines)
