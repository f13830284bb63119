"""The two backends by name: who makes keys, opens them for a client, and opens them for a server."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unmask.errors import BadInput
from unmask.he import environment, keys
from unmask.he.backend import Evaluator, KeyHolder
from unmask.he.keys import KeySet
from unmask.he.openfhe import OpenFheEvaluator, OpenFheKeyHolder, as_given
from unmask.he.parameters import Parameters
from unmask.he.process import Worker
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder


@runtime_checkable
class Closing(Protocol):
    """What has to be closed."""

    def close(self) -> None:
        """Let go of processes; twice does nothing."""


@runtime_checkable
class Library(Protocol):
    """A backend: what makes keys and opens them."""

    def make(self, folder: Path, parameters: Parameters, rotations: Sequence[int]) -> KeySet:
        """Make all keys in a client's folder.

        Args:
            folder: the client's; public keys go into its folder `public`.
            parameters: ring, levels and scale.
            rotations: steps that the circuit turns by.
        """

    def key_holder(self, folder: Path) -> "tuple[KeyHolder, Closing]":
        """Open a client's folder."""

    def evaluator(self, public: Path, *, memory: int = 0) -> "tuple[Evaluator, Closing]":
        """Open a folder of public keys; a backend with a process of its own lets it take so many bytes."""


class OpenFhe:
    """OpenFHE in worker processes."""

    def make(self, folder: Path, parameters: Parameters, rotations: Sequence[int]) -> KeySet:
        """See `Library`."""
        public = keys.fresh_folder(folder)
        steps = _steps(rotations, parameters)
        header = {"parameters": as_given(parameters), "rotations": steps, "folder": str(public)}
        with Worker(environment.required(), "client") as worker:
            answer, (secret,) = worker.ask("generate", header)
        return _written(folder, "openfhe", parameters, steps, answer["files"], secret)

    def key_holder(self, folder: Path) -> tuple[KeyHolder, Closing]:
        """See `Library`."""
        listed = _of(keys.listing(folder / keys.PUBLIC), "openfhe")
        secret = keys.secret(folder, listed)
        public = (folder / keys.PUBLIC / "public.key").read_bytes()
        worker = Worker(environment.required(), "client")
        holder = OpenFheKeyHolder(worker, listed.parameters, listed.key, secret, public)
        return holder, holder

    def evaluator(self, public: Path, *, memory: int = 0) -> tuple[Evaluator, Closing]:
        """See `Library`."""
        listed = _of(keys.listing(public), "openfhe")
        made = OpenFheEvaluator(
            Worker(environment.required(), "server", memory=memory),
            listed.parameters,
            key=listed.key,
            folder=public,
            files=[file.name for file in listed.files],
            rotations=frozenset(listed.rotations),
        )
        return made, made


class Simulator:
    """The simulator behind files of the same names. It hides nothing: its ciphertexts are the values."""

    def make(self, folder: Path, parameters: Parameters, rotations: Sequence[int]) -> KeySet:
        """See `Library`."""
        public = keys.fresh_folder(folder)
        (public / "public.key").write_bytes(secrets.token_bytes(32))
        steps = _steps(rotations, parameters)
        return _written(folder, "simulator", parameters, steps, ["public.key"], secrets.token_bytes(32))

    def key_holder(self, folder: Path) -> tuple[KeyHolder, Closing]:
        """See `Library`."""
        listed = _of(keys.listing(folder / keys.PUBLIC), "simulator")
        keys.secret(folder, listed)
        chance = np.random.default_rng()
        return SimulatedKeyHolder(parameters=listed.parameters, generator=chance, key=listed.key), _Nothing()

    def evaluator(self, public: Path, *, memory: int = 0) -> tuple[Evaluator, Closing]:
        """See `Library`."""
        listed = _of(keys.listing(public), "simulator")
        steps = frozenset(listed.rotations)
        made = SimulatedEvaluator(listed.parameters, np.random.default_rng(), rotations=steps, key=listed.key)
        return made, _Nothing()


class _Nothing:
    def close(self) -> None:
        """Close nothing."""


LIBRARIES: dict[str, Library] = {"openfhe": OpenFhe(), "simulator": Simulator()}


def library(name: str) -> Library:
    """Return a backend by name.

    Raises:
        BadInput: if there is none of that name.
    """
    if name not in LIBRARIES:
        raise BadInput("--backend", name, "is unknown", f"choose {', '.join(LIBRARIES)}")
    return LIBRARIES[name]


@contextmanager
def both(
    folder: Path, name: str, parameters: Parameters, rotations: Sequence[int]
) -> Iterator[tuple[KeyHolder, Evaluator]]:
    """Make keys in a new folder and open both sides on this machine: for tests and benchmarks.

    Args:
        folder: where the keys go.
        name: of the backend.
        parameters: ring, levels and scale.
        rotations: steps that the circuit turns by.

    Yields:
        The client's and the server's side.
    """
    backend = library(name)
    backend.make(folder, parameters, rotations)
    holder, first = backend.key_holder(folder)
    try:
        evaluator, second = backend.evaluator(folder / keys.PUBLIC)
        try:
            yield holder, evaluator
        finally:
            second.close()
    finally:
        first.close()


def _steps(rotations: Sequence[int], parameters: Parameters) -> list[int]:
    return sorted({step % parameters.slots for step in rotations} - {0})


def _written(
    folder: Path, library: str, parameters: Parameters, steps: Sequence[int], names: Sequence[str], secret: bytes
) -> KeySet:
    files = tuple(keys.described(folder / keys.PUBLIC, name) for name in names)
    made = KeySet(key=files[0].digest[:16], parameters=parameters, library=library, rotations=tuple(steps), files=files)
    keys.write(folder, made, secret)
    return made


def _of(listed: KeySet, library: str) -> KeySet:
    if listed.library != library:
        raise BadInput("--keys", listed.library, f"made these keys, not {library}", "use the same backend throughout")
    return listed
