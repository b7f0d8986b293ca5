"""What other packages do to us: those that are missing, told with their extra; their errors."""

from importlib.util import find_spec


def require(package: str, why: str, extra: str) -> None:
    """Raise an ImportError that names the `extra` to install where `package` is missing.

    `why` says what it is for and ends in its name.
    """
    if find_spec(package) is None:
        raise ImportError(f"{why}, which is not installed; run pip install 'reidtools[{extra}]'.")


def reason(error: BaseException) -> str:
    """The first line of what an error says, else its name.

    >>> reason(ValueError("no end")), reason(KeyError())
    ('no end', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]
