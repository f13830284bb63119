"""Read what flows into and out of modules, without changing them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Reached(Exception):
    """Raised inside a forward pass once everything asked for was seen; never leaves this package."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Where a signal passes: the first input of a module, or its output.

    Args:
        name: key of what is read.
        path: the module's path.
        before: whether its first input is meant.
        read: what to take of the input or output.
    """

    name: str
    path: str
    before: bool
    read: Callable[[object], Tensor]


class Tape:
    """The inputs and outputs that the hooks of `recording` saw, by module path."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}


@contextmanager
def _held(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Keep hooks during the block, which may be left by `Reached`."""
    try:
        yield
    except Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def recording(modules: Mapping[str, nn.Module], *, stop: bool) -> Iterator[Tape]:
    """Record the first input and the output of modules during forward passes in the block.

    Args:
        modules: path to module.
        stop: raise `Reached` inside the forward pass as soon as every input was seen, so that
            later layers are not computed; outputs are not recorded then.
    """
    tape = Tape()

    def before(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            if not arguments:
                return  # called by keywords alone, as some libraries call whole layers
            tape.inputs[path] = arguments[0]
            if stop and len(tape.inputs) == len(modules):
                raise Reached

        return hook

    def after(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            tape.outputs[path] = output

        return hook

    handles = [module.register_forward_pre_hook(before(path)) for path, module in modules.items()]
    if not stop:
        handles += [module.register_forward_hook(after(path)) for path, module in modules.items()]
    with _held(handles):
        yield tape


@contextmanager
def reading(modules: Mapping[str, nn.Module], readers: Sequence[Reader]) -> Iterator[dict[str, Tensor]]:
    """Collect what readers read during one forward pass in the block, which ends as soon as all have read.

    Args:
        modules: path to module.
        readers: what to read, and where.
    """
    tape: dict[str, Tensor] = {}

    def note(reader: Reader, found: object) -> None:
        tape[reader.name] = reader.read(found)
        if len(tape) == len({reader.name for reader in readers}):
            raise Reached

    def before(reader: Reader) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, arguments: note(reader, arguments[0])

    def after(reader: Reader) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda _, __, output: note(reader, output)

    handles = [
        modules[reader.path].register_forward_pre_hook(before(reader))
        if reader.before
        else modules[reader.path].register_forward_hook(after(reader))
        for reader in readers
    ]
    with _held(handles):
        yield tape


@contextmanager
def replaced(module: nn.Module, output: Tensor | None) -> Iterator[None]:
    """Let `module` return `output` during the block; None changes nothing."""
    if output is None:
        yield
        return
    handle = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Switch dropout on or off during the block and restore every submodule's mode after it."""
    before = {child: child.training for child in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        restore(before.items())


def restore(states: Iterable[tuple[nn.Module, bool]]) -> None:
    """Set each module's own training flag, leaving its children alone."""
    for child, training in states:
        child.training = training
