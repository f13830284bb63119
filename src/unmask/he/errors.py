"""What goes wrong in an encrypted computation, as against in what was asked for."""

from unmask.errors import UnmaskError


class BackendError(UnmaskError):
    """An encryption library, or the process it runs in, failed."""


class LevelExhausted(BackendError):
    """A product was asked of a ciphertext with no level left."""


class NoKey(BackendError):
    """A rotation was asked for whose key the client did not make."""
