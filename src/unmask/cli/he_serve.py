"""`unmask he serve`: computes on encrypted inputs with public keys only."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from unmask.cli import console
from unmask.errors import BadInput, MissingExtra
from unmask.he import environment, served
from unmask.he.server.limits import GIB, MIB, Limits

try:
    import uvicorn

    from unmask.he.server.app import build
except ImportError as error:
    if not isinstance(error, MissingExtra) and error.name != "uvicorn":
        raise
    MISSING: ImportError | None = error
else:
    MISSING = None


def command(
    package: Annotated[Path, typer.Argument(help="Folder of a compiled network.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8642,
    memory: Annotated[float, typer.Option(help="GiB that all clients' workers together may take.")] = 16.0,
    sessions: Annotated[int, typer.Option(help="Clients at a time.")] = 16,
    rate: Annotated[int, typer.Option(help="Queries a minute and client.")] = 30,
    idle: Annotated[float, typer.Option(help="Seconds after which a silent client's keys are deleted.")] = 3600.0,
    state: Annotated[
        Path | None, typer.Option(help="Folder for clients' public keys; default: a temporary one.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate, PEM.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Key of the certificate, PEM.")] = None,
    backend: Annotated[str, typer.Option(help="openfhe, or simulator: it hides nothing, for trying out.")] = "openfhe",
) -> None:
    """Serve a package to clients with their own keys. Nothing here can decrypt."""
    if MISSING is not None:
        raise MissingExtra("fastapi or uvicorn", "he") from MISSING
    if (certificate is None) != (private_key is None):
        raise BadInput("--certificate", str(certificate), "and --private-key belong together", "give both or neither")
    if certificate is None and host not in ("127.0.0.1", "localhost", "::1"):
        console.note("warning: no TLS: session tokens travel in clear; give --certificate, or put a proxy before this")
    if backend == "openfhe":
        environment.required()
    elif backend == "simulator":
        console.note("warning: the simulator encrypts nothing: this server reads what it is sent")
    limits = Limits(memory=int(memory * GIB), sessions=sessions, rate=rate, idle=idle)
    circuit = served.load(package)
    needed = circuit.memory / GIB
    console.note(
        f"{package}: {len(circuit.rotations)} rotation keys a client, {needed:.1f} GiB, {circuit.seconds:.0f} s a query"
    )
    with tempfile.TemporaryDirectory(prefix="unmask-he-") as temporary:
        app = build(circuit, backend, state or Path(temporary), limits)
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="info",
            ssl_certfile=certificate and str(certificate),
            ssl_keyfile=private_key and str(private_key),
            h11_max_incomplete_event_size=MIB,
            server_header=False,
            access_log=False,
        )
