"""`unmask he keygen` and `unmask he query`: the client's side."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unmask.cli import console, options
from unmask.errors import BadInput, MissingExtra
from unmask.he import keys, served
from unmask.he.flooding import Flooding
from unmask.he.inputs import read
from unmask.he.library import library
from unmask.he.servable import Array, Queryable
from unmask.privacy.sampling import Randomness

try:
    import httpx

    from unmask.he.client import Answer, Client
except ImportError as error:
    if not isinstance(error, MissingExtra) and error.name != "httpx":
        raise
    MISSING: ImportError | None = error
else:
    MISSING = None

Package = Annotated[Path, typer.Argument(help="Folder of a compiled network; a client needs its package.json only.")]
Keys = Annotated[Path, typer.Option("--keys", help="The client's folder.")]
MIB = 2**20

SAMPLE = "sample"


def keygen(
    package: Package,
    out: Annotated[Path, typer.Option(help="New folder of the client.")] = Path("keys"),
    backend: Annotated[str, typer.Option(help="openfhe, or simulator: it hides nothing, for trying out.")] = "openfhe",
    json: options.Json = False,
) -> None:
    """Make the keys that a package needs. The secret one stays in the folder, readable by its owner only."""
    circuit = served.load(package, weights=False)
    made = library(backend).make(out, circuit.parameters, circuit.rotations)
    facts = {"folder": str(out), "key": made.key, "files": len(made.files), "bytes": made.size}
    if json:
        console.emit(facts)
        return
    print(f"{out / keys.SECRET}: keep it; nobody else may have it, and it cannot be had again")
    print(f"{out / keys.PUBLIC}: {len(made.files)} files, {made.size / MIB:.0f} MiB, which unmask he query uploads")


def query(
    package: Package,
    data: Annotated[Path, typer.Option(help="Image, .npy or .npz; images are cut into patches; or `sample`.")],
    folder: Keys = Path("keys"),
    server: Annotated[str, typer.Option(help="Address of unmask he serve.")] = "http://127.0.0.1:8642",
    item: Annotated[int | None, typer.Option(help="Which one of the inputs in the file; default: all.")] = None,
    top: Annotated[int, typer.Option(help="Classes to show for each input.")] = 3,
    certificate: Annotated[Path | None, typer.Option(help="Certificate to trust besides the system's, PEM.")] = None,
    patience: Annotated[str, typer.Option(help="How long to wait for an answer, such as 10m.")] = "1h",
    share: Annotated[
        float | None,
        typer.Option(help="Add noise, so that outputs may be shared: the advantage it leaves, such as 0.01."),
    ] = None,
    error: Annotated[float, typer.Option(help="With --share: bound on the error of an output.")] = 1e-3,
    values: Annotated[int, typer.Option(help="With --share: numbers shared under these keys, all together.")] = 100,
    json: options.Json = False,
) -> None:
    """Encrypt inputs, have the server compute on them, and decrypt what comes back."""
    if MISSING is not None:
        raise MissingExtra("httpx", "he") from MISSING
    seconds = console.duration(patience, "--patience")
    flooding = None if share is None else Flooding(error=error, values=values, advantage=share)
    circuit = served.load(package, weights=False)
    inputs = read(source(data), circuit.shape, item)
    # Packed, and so checked for its range, before anything is sent.
    vectors = circuit.pack(inputs)
    listed = keys.listing(folder / keys.PUBLIC)
    if listed.parameters != circuit.parameters or not set(circuit.rotations) <= set(listed.rotations):
        raise BadInput("--keys", str(folder), "are for another package", f"run: unmask he keygen {package}")
    holder, closing = library(listed.library).key_holder(folder)
    try:
        verify = True if certificate is None else str(certificate)
        with httpx.Client(base_url=server, verify=verify, timeout=120.0) as http:
            client = Client(http, folder, say=console.note, patience=seconds)
            _same_package(client, circuit, server)
            client.connect()
            sealed = [holder.encrypt(vector, circuit.level) for vector in vectors]
            size = circuit.inputs
            answers = [client.ask(circuit.digest, sealed[k : k + size]) for k in range(0, len(sealed), size)]
        parts = [circuit.unpack([holder.decrypt(part) for part in answer.ciphertexts]) for answer in answers]
    finally:
        closing.close()
    outputs = _shared(np.concatenate(parts)[: len(inputs)], flooding)
    _show(outputs, circuit, answers, listed.library, top, json)


def source(data: Path) -> Path:
    """Return the file that `--data` names; `sample`, where there is none of that name, is the bundled one."""
    if str(data) != SAMPLE or data.exists():
        return data
    # Not through the room of the victims, which needs torch.
    return Path(str(resources.files("unmask.victims").joinpath("data/fashion-mnist-sample.npz")))


def _shared(outputs: Array, flooding: Flooding | None) -> Array:
    """Return outputs with noise on them, if they are going to be shared.

    Raises:
        BadInput: if there are more of them than the noise is made for.
    """
    if flooding is None:
        return outputs
    if outputs.size > flooding.values:
        raise BadInput("--values", flooding.values, f"are fewer than the {outputs.size} outputs", "count all of them")
    console.note(f"noise of deviation {flooding.sigma:.3g} was added to each output, which may be shared as shown")
    return flooding.apply(outputs, Randomness().bits)


def _same_package(client: "Client", circuit: Queryable, server: str) -> None:
    offered = client.package()
    if offered.get("package") != circuit.digest:
        rule = f"is not the one that {server} serves"
        raise BadInput("package", circuit.digest, rule, "ask whoever runs the server for its package.json")


def _show(outputs: Array, circuit: Queryable, answers: "list[Answer]", backend: str, top: int, json: bool) -> None:
    ranked = [_ranked(values, circuit.classes, top) for values in outputs.reshape(-1, outputs.shape[-1])]
    seconds = sum(answer.seconds for answer in answers)
    if json:
        sent, received = sum(a.sent for a in answers), sum(a.received for a in answers)
        shown: dict[str, object] = {"outputs": outputs.tolist(), "top": ranked, "seconds": seconds}
        console.emit(shown | {"sent": sent, "received": received, "waited": sum(a.waited for a in answers)})
        return
    for index, best in enumerate(ranked):
        print(f"{index}: " + ", ".join(f"{name} {value:.4f}" for name, value in best))
    if backend == "simulator":
        console.note(f"simulated in {seconds:.1f} s; nothing was hidden: make keys without --backend simulator")
    else:
        console.note(f"computed encrypted in {seconds:.1f} s; the server saw ciphertexts only")


def _ranked(values: Array, classes: tuple[str, ...], top: int) -> list[tuple[str, float]]:
    order = np.argsort(-values)[: max(1, top)]
    return [(classes[k] if k < len(classes) else str(k), float(values[k])) for k in order]
