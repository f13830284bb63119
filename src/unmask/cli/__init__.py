"""The command line: one thin file per command."""

import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from unmask.errors import UnmaskError

# `list.py` would hide the built-in `list` in this package.
MODULES = ("audit", "defend", "compare", "account", "report", "info", "capture", "delta", "distill", "doctor")
COMMANDS = {name: name for name in MODULES} | {"list": "listing"}
# Each is a module with a typer `app` of several commands.
GROUPS = ("poly", "he")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for a leak above the limit, 2 for bad input.

    Args:
        arguments: the command line without the program's name, by default the process's own.

    Example:
        >>> main(["list"])  # doctest: +SKIP
        0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
    app.callback(help="What private data does a transformer give away, through which surface?")(_root)
    # Only the command that was named is imported: the report of a finished run needs no torch.
    known = (*COMMANDS, *GROUPS)
    for name in [name for name in known if given[:1] == [name]] or known:
        if name in GROUPS:
            app.add_typer(import_module(f"unmask.cli.{name}").app, name=name)
        else:
            app.command(name)(import_module(f"unmask.cli.{COMMANDS[name]}").command)
    try:
        app(given, prog_name="unmask")
    except UnmaskError as error:
        print(f"unmask: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 2
    return 0


def _root() -> None:
    """Take no options of its own."""
