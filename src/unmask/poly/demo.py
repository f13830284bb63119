"""The polynomial network that ships with the project."""

from importlib import resources
from pathlib import Path

from unmask.poly.network import Network
from unmask.poly.storage import load_network

NAME = "fashion-mnist-poly"


def directory() -> Path:
    """Return the folder of the bundled network: a vision transformer on Fashion-MNIST, polynomial end to end.

    28x28 pixels in 16 patches of 7x7, width 64, 4 heads, 2 layers, every activation of degree 2. Its client
    cuts an image with pixels in [0, 1] into patches, row by row; `docs/poly/models.md` has its recipe.
    """
    return Path(str(resources.files("unmask.poly").joinpath("data/fashion-mnist")))


def network() -> Network:
    """Return it.

    Example:
        >>> network().classes[0]
        'T-shirt/top'
    """
    return load_network(directory())


def find(folder: Path) -> Network:
    """Return the network that a folder holds, or the bundled one for its name.

    Args:
        folder: a folder, or `fashion-mnist-poly` where there is none of that name.

    Raises:
        BadInput: if the folder holds no network.
    """
    return load_network(directory() if str(folder) == NAME and not folder.exists() else folder)
