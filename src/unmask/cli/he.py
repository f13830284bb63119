"""`unmask he`: inference on data that the server cannot read.

A command registers itself with one line here: `app.command("compile")(he_compile.command)`.
"""

import typer

from unmask.cli import he_compile, he_query, he_serve, he_setup, he_trace

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Encrypted inference: the server computes on ciphertexts, and only the client has the secret key.",
)
app.command("setup")(he_setup.command)
app.command("plan")(he_compile.plan)
app.command("compile")(he_compile.compile_)
app.command("keygen")(he_query.keygen)
app.command("serve")(he_serve.command)
app.command("query")(he_query.query)
app.command("trace")(he_trace.command)
