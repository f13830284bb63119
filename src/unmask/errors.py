"""The errors a caller can mend, each one line long: argument, value, rule, way out."""


class UnmaskError(Exception):
    """Base of every error that Unmask raises on purpose; the command line exits 2 on it."""


class BadInput(UnmaskError, ValueError):
    """An argument has a value that cannot be used.

    Args:
        argument: the name as the caller wrote it (`--model`, `texts`).
        value: the offending value; it is shortened when it is long.
        rule: what was expected, as a clause.
        remedy: what to do instead, as a clause.

    Example:
        >>> print(BadInput("--model", "bret", "is no directory", "name one of: bert"))
        --model 'bret' is no directory; name one of: bert
    """

    def __init__(self, argument: str, value: object, rule: str, remedy: str) -> None:
        self.argument = argument
        self.value = value
        self.rule = rule
        self.remedy = remedy

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 80 else shown[:76] + "..." + shown[-1]
        return f"{self.argument} {shown} {self.rule}; {self.remedy}"


class NoSignal(BadInput):
    """Everything that was seen is zero, so that nothing was said about the input."""


class MissingExtra(UnmaskError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the distribution that could not be imported.
        extra: the extra of this project that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.package} is not installed; run: pip install 'unmask[{self.extra}]'"


class StorageError(UnmaskError, OSError):
    """A result could not be written; what was finished before stays on disk.

    Args:
        path: the file that was being written.
        reason: the operating system's words.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"--out {self.path!r} cannot be written ({self.reason}); "
            "finished records are kept, free some room and add --resume"
        )
