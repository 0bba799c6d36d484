"""Retries for a storage that is out of reach, and one clear error for a storage that is full.

A storage out of reach is retried for three minutes. A full disk fails at once. In both cases no file
is left half-written, and files that existed before are unchanged.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from dpo_core.errors import StorageError

if TYPE_CHECKING:
    from dpo_core.storage.store import Store

RETRY_FOR_S = 180.0
FIRST_CONTACT_S = 20.0
"""For how long a storage is tried before anything has begun, and a user waits for the answer."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Error numbers of a network file system whose server does not answer.
_UNREACHABLE = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.EREMOTEIO,
}
# Errors of an object store that waiting does not mend. Arrow reports them as text.
_PERMANENT = re.compile(
    r"ACCESS_DENIED|forbidden|credential|signature|no.?such.?bucket", re.IGNORECASE
)

_patience_s: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    "_patience_s", default=None
)
_gave_up_on: set[str] = set()  # URIs of stores that stayed out of reach for RETRY_FOR_S

P = ParamSpec("P")
Result = TypeVar("Result")


def retry_while_unreachable(
    method: Callable[Concatenate[Store, P], Result],
) -> Callable[Concatenate[Store, P], Result]:
    """Decorate a method of `Store` so that it is retried while the store is out of reach.

    The method may run several times, so running it twice must have the effect of running it once.
    It raises StorageError when the store is full, out of reach for longer than `RETRY_FOR_S` (or what
    `retrying_for` set), or
    has a folder where a file belongs.
    """

    @functools.wraps(method)
    def retried(store: Store, /, *arguments: P.args, **options: P.kwargs) -> Result:
        # After one store was given up, cleaning up must not wait again at every step.
        patience_s = _patience_s.get() or RETRY_FOR_S
        deadline = time.monotonic() + (0 if _gave_up_on else patience_s)
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                with (
                    full_disk_as_storage_error(store),
                    wrong_kind_as_storage_error(store, *arguments),
                ):
                    result = method(store, *arguments, **options)
                _gave_up_on.discard(store.uri)
                return result
            except OSError as error:
                if not _is_unreachable(error, remote=store.local is None):
                    raise
                if time.monotonic() + wait_s > deadline:
                    _gave_up_on.add(store.uri)
                    raise StorageError(
                        f"{store.uri}: was out of reach for {patience_s:g} s ({error}); `dpo-sweeps "
                        "resume` goes on when it is back"
                    ) from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    return retried


@contextlib.contextmanager
def retrying_for(seconds: float) -> Iterator[None]:
    """Retry for this long within the block: where nothing is lost yet, a user waits for the error."""
    token = _patience_s.set(seconds)
    try:
        yield
    finally:
        _patience_s.reset(token)


@contextlib.contextmanager
def full_disk_as_storage_error(store: Store) -> Iterator[None]:
    """Turn the errors by which libraries report a full disk into a StorageError."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise StorageError(
                f"{store.uri}: is full ({error}); make room, and `dpo-sweeps resume` goes on"
            ) from error
        raise


@contextlib.contextmanager
def wrong_kind_as_storage_error(store: Store, name: object = "", *_: object) -> Iterator[None]:
    """Raise StorageError where the file `name` belongs and there is a folder, or the reverse."""
    try:
        yield
    except IsADirectoryError as error:
        raise StorageError(
            f"{store.uri}/{name}: is a folder, and a file belongs there; move it away, and "
            "`dpo-sweeps resume` goes on"
        ) from error
    except (NotADirectoryError, FileExistsError) as error:
        raise StorageError(
            f"{store.uri}/{name}: a file stands where a folder belongs; move it away, and "
            f"`dpo-sweeps resume` goes on ({error})"
        ) from error


def is_full(error: BaseException) -> bool:
    """Return whether an error, also one of a library, means that the disk is full."""
    if isinstance(error, StorageError):
        return False
    return getattr(error, "errno", None) in _FULL or "No space left on device" in str(error)


def _is_unreachable(error: OSError, *, remote: bool) -> bool:
    if isinstance(error, ConnectionError | TimeoutError) or error.errno in _UNREACHABLE:
        return True
    # Object stores give no error numbers: an error that is not about the file itself may pass.
    of_the_file = FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError
    if not remote or isinstance(error, of_the_file | NotADirectoryError):
        return False
    return error.errno is None and not _PERMANENT.search(str(error))
