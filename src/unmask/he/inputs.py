"""What a client wants to ask about, from files to arrays."""

from pathlib import Path

import numpy as np

from unmask.errors import BadInput
from unmask.he.pictures import SUFFIXES
from unmask.he.servable import Array, Queryable


def read(path: Path, circuit: Queryable) -> Array:
    """Return inputs of a file, the first axis counting items.

    Args:
        path: `.npy`, in the shape that the circuit takes; one item may come without the first axis. Or a picture,
            if that is what the circuit takes.
        circuit: what it is for.

    Raises:
        BadInput: if the file cannot be read or holds no numbers.
    """
    if path.suffix.lower() in SUFFIXES:
        if circuit.picture is None:
            raise BadInput("--data", str(path), "is a picture, the package takes none", "give a .npy file of numbers")
        return circuit.picture.read(path)[None]
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(
            "--data", str(path), f"cannot be read ({error})", "give a picture, or a .npy file of numbers"
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise BadInput("--data", str(path), "holds no numbers", "give a .npy file of numbers")
    array = values.astype(np.float64)
    return array if array.ndim == circuit.dimensions else array[None]
