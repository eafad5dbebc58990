"""Every error that the library raises on purpose.

The codes are those of `kernels/include/vera/status_list.h`; a contract test holds both equal.
A message says what failed, the value seen, what is allowed and what to do.
"""

from __future__ import annotations


class VeraError(Exception):
    """Base of all errors meant for users; `code` is shared with the C ABI, Swift and Kotlin."""

    code = 9


class InvalidArgument(VeraError):
    """A value given by the caller is outside of what is allowed."""

    code = 1


class OutOfMemory(VeraError):
    """The work does not fit the memory that is left or allowed."""

    code = 2


class Cancelled(VeraError):
    """The caller asked to stop; nothing was written."""

    code = 3


class FileError(VeraError):
    """A file is missing, unreadable, truncated or cannot be written."""

    code = 4


class BundleError(VeraError):
    """A bundle is damaged: changed byte, missing file, escaping path, malformed manifest."""

    code = 5


class BundleVersionError(VeraError):
    """A bundle was written by a newer release than this one can read."""

    code = 6


class UnsupportedFormat(VeraError):
    """A file is whole but of a kind that is not handled (animated, raw, unknown preset ...)."""

    code = 7


class ModelError(VeraError):
    """A checkpoint or a model's answer is unusable."""

    code = 8


class InternalError(VeraError):
    """A bug of ours; please report it."""

    code = 9
