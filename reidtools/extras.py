"""Packages that only some uses need: what is missing is told with the extra that brings it."""

from importlib.util import find_spec


def require(package: str, why: str, extra: str) -> None:
    """Raise an ImportError that names the `extra` to install where `package` is missing.

    `why` says what it is for and ends in its name.
    """
    if find_spec(package) is None:
        raise ImportError(f"{why}, which is not installed; run pip install 'reidtools[{extra}]'.")
