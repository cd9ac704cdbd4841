"""Names of files and folders, as people give them."""

from pathlib import Path

from gpool_jax.errors import InputError


def check(what: str, name: str) -> None:
    """Raise an `InputError` that begins with `what` if a name cannot be one of this machine."""
    if name == "":
        raise InputError(f"`{what}` must not be empty; got ''.")
    if "://" in name:
        raise InputError(
            f"`{what}`: addresses are not supported; mount the store as a folder, or copy to or "
            f"from it; got {name}."
        )


def expand(name: str | Path) -> Path:
    """Put the home folder for ~; an `InputError` if there is none."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise InputError(f"{name}: there is no home folder; set $HOME, or name it.") from None


def home_cache() -> Path | None:
    """Return ~/.cache/gpool_jax; None where there is no home, as for some users of containers."""
    try:
        return Path.home() / ".cache" / "gpool_jax"
    except RuntimeError:
        return None
