"""`unmask he trace`: one encrypted run, layer by layer, as a page."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from unmask.cli import console, he_query, options
from unmask.errors import BadInput
from unmask.he import trace
from unmask.he.inputs import read
from unmask.he.library import both
from unmask.he.package import load_package
from unmask.he.run import ready
from unmask.report import trace_page


def command(
    package: Annotated[Path, typer.Argument(help="Folder of a compiled network.")],
    data: Annotated[Path, typer.Option(help="Image, .npy or .npz; or `sample`.")] = Path(he_query.SAMPLE),
    out: Annotated[Path, typer.Option(help="Folder of trace.json and index.html.")] = Path("trace"),
    backend: Annotated[
        str, typer.Option(help="openfhe, or simulator: levels and noise without encryption.")
    ] = "openfhe",
    item: Annotated[int | None, typer.Option(help="Which one of the inputs; default: as many as fit.")] = None,
    json: options.Json = False,
) -> None:
    """Run a package, decrypt every value in between, and draw time, levels and noise; its keys are thrown away."""
    circuit = load_package(package)
    shape = circuit.packing.tokens, circuit.reading.features
    inputs = read(he_query.source(data), shape, item)
    vectors = circuit.pack(inputs[: circuit.packing.batch])
    if out.exists() and not out.is_dir():
        raise BadInput("--out", str(out), "is a file", "name a folder")
    with tempfile.TemporaryDirectory() as keys:
        console.note(f"making keys for {circuit.parameters.levels} levels, which this run throws away")
        with both(Path(keys) / "keys", backend, circuit.parameters, sorted(circuit.program.rotations)) as (
            holder,
            evaluator,
        ):
            points = trace.traced(ready(circuit, evaluator), holder, vectors)
    out.mkdir(parents=True, exist_ok=True)
    written = trace.write(points, circuit, out / "trace.json", backend=backend)
    page = trace_page.write(written, out / "index.html")
    sentence = trace_page.sentence(trace_page.read(written))
    if json:
        console.emit({"page": str(page), "trace": str(written), "sentence": sentence})
        return
    print(sentence)
    print(f"Page: {page}")
