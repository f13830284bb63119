"""`unmask poly`: polynomials in the place of a transformer's non-linear functions.

A command registers itself with one line here: `app.command("convert")(poly_convert.command)`.
"""

import typer

from unmask.cli import poly_convert, poly_fit, poly_simulate, poly_study

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Polynomial transformers: what they cost, how exact they are, and whether they stay in range.",
)
app.command("fit")(poly_fit.command)
app.command("convert")(poly_convert.command)
app.command("simulate")(poly_simulate.command)
app.command("study")(poly_study.command)
