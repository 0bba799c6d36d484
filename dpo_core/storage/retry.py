"""Storage that is out of reach for a while: wait and try again; when that is in vain, say so.

A full disk is not waited for. Either way nothing half-written stays behind, and what was there
before is untouched.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dpo_core.errors import StorageError

RETRY_FOR_S = 180.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What a network file system says while its server is away.
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
# What an object store says when waiting helps nothing. Arrow hands it on as text.
_PERMANENT = re.compile(
    r"ACCESS_DENIED|forbidden|credential|signature|no.?such.?bucket", re.IGNORECASE
)

_gave_up_on: set[str] = set()  # stores that this process has waited for in vain

Method = TypeVar("Method", bound=Callable[..., Any])


def retry_while_unreachable(method: Method) -> Method:
    """Of a `Store`: retried again for `RETRY_FOR_S`, so it must do no harm when done twice.

    Raises StorageError when the store is full, out of reach for longer, or holds a folder where a
    file belongs.
    """

    @functools.wraps(method)
    def retried(store: Any, *arguments: Any, **options: Any) -> Any:
        # Who has waited in vain does not wait again at every step of cleaning up.
        deadline = time.monotonic() + (0 if _gave_up_on else RETRY_FOR_S)
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
                        f"{store.uri}: was out of reach for {RETRY_FOR_S:g} s ({error}); `dpo-sweeps "
                        "resume` goes on when it is back"
                    ) from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    return retried  # type: ignore[return-value]


@contextlib.contextmanager
def full_disk_as_storage_error(store: Any) -> Iterator[None]:
    """Raises StorageError instead of what libraries say when the disk is full."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise StorageError(
                f"{store.uri}: is full ({error}); make room, and `dpo-sweeps resume` goes on"
            ) from error
        raise


@contextlib.contextmanager
def wrong_kind_as_storage_error(store: Any, name: object = "", *_: object) -> Iterator[None]:
    """Raises StorageError when a folder stands where the file `name` belongs, or the reverse."""
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
    """Whether a disk has no room left; libraries say it in errors of their own."""
    if isinstance(error, StorageError):
        return False
    return getattr(error, "errno", None) in _FULL or "No space left on device" in str(error)


def _is_unreachable(error: OSError, *, remote: bool) -> bool:
    if isinstance(error, ConnectionError | TimeoutError) or error.errno in _UNREACHABLE:
        return True
    # Object stores have no error numbers: whatever is not about the file itself may pass.
    of_the_file = FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError
    if not remote or isinstance(error, of_the_file | NotADirectoryError):
        return False
    return error.errno is None and not _PERMANENT.search(str(error))
