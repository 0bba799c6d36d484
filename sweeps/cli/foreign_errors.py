"""Errors of the disk, the storage, models, templates and Ray, each in one line of ours.

The last boundary: a module that knows more about its errors turns them into a UserError itself. What is
not known here as an error of something outside is a defect of this program.
"""

from __future__ import annotations

import errno

from dpo_core.errors import ModelError, StorageError, UserError
from dpo_core.storage.retry import is_full

_GO_ON = "and `dpo-sweeps resume FOLDER` goes on"
_WAYS_OUT = {
    errno.EMFILE: f"raise the limit of open files (`ulimit -n`), {_GO_ON}",
    errno.ENFILE: f"this machine has too many open files; end other work, {_GO_ON}",
    errno.ENOMEM: f"give this machine more memory or end other work, {_GO_ON}",
    errno.EAGAIN: f"raise the limit of processes (`ulimit -u`) or end other work, {_GO_ON}",
    errno.EROFS: "give a folder that can be written",
    errno.ENOTDIR: "a file stands where a folder belongs; move it away, or give another folder",
    errno.EEXIST: "a file stands where a folder belongs; move it away, or give another folder",
    errno.EISDIR: "a folder stands where a file belongs; move it away, or give another file",
    errno.ENOENT: "it is missing, or was removed while it was needed; put it back, or set TMPDIR to a "
    "folder that exists if it is a temporary one",
}
_OTHER_WAY_OUT = f"mend what stops that file, disk or connection, {_GO_ON}"

_LONGEST_LINE = 400  # characters

# By the package that an error's class is from, since importing them all takes seconds.
_PACKAGES: dict[str, tuple[type[UserError], str]] = {
    "jinja2": (ModelError, "the model's chat template cannot be used; correct it, or set another"),
    "safetensors": (ModelError, "the model's weights cannot be read; fetch them again"),
    "huggingface_hub": (
        ModelError,
        "the hub did not give what was asked for; check the name, the token and the network, or give "
        "a local folder",
    ),
    **dict.fromkeys(
        ("requests", "httpx", "urllib3", "aiohttp", "botocore", "fsspec"),
        (StorageError, f"a server did not answer as it should; check name and network, {_GO_ON}"),
    ),
    "pyarrow": (StorageError, "a file of tables cannot be read or written; restore it from a copy"),
    "sqlite3": (StorageError, f"the study's database cannot be used; check its disk, {_GO_ON}"),
    "sqlalchemy": (
        StorageError,
        f"the study's database cannot be used; check search.study, {_GO_ON}",
    ),
    "ray": (UserError, f"Ray failed; see its logs, start it again if it has ended, {_GO_ON}"),
}


def foreign_error(error: BaseException) -> UserError | None:
    """Return what to tell the user about an error of something outside this program.

    Args:
        error: What ended a command.

    Returns:
        An error of one line with a way out; None for a defect of this program.
    """
    if is_task_error(error):  # Ray's wrapping of what a function of ours raised on a worker
        cause = getattr(error, "cause", None)
        return foreign_error(cause) if isinstance(cause, BaseException) else None
    if isinstance(error, UserError):
        return error
    if is_full(error):
        return StorageError(
            f"{_subject(error)}; make room on that disk (TMPDIR counts too), {_GO_ON}"
        )
    if isinstance(error, PermissionError):
        return StorageError(
            f"{_subject(error)}; give a file or folder that this user may read and write"
        )
    if isinstance(error, MemoryError):
        return UserError(f"{_subject(error)}; {_WAYS_OUT[errno.ENOMEM]}")
    return _of_package(error) or _of_system(error)


def is_task_error(error: BaseException) -> bool:
    """Return whether Ray raised an error for what a function raised on a worker."""
    return any(c.__name__ == "RayTaskError" for c in type(error).__mro__)


def _of_package(error: BaseException) -> UserError | None:
    for each in type(error).__mro__:
        entry = _PACKAGES.get(each.__module__.partition(".")[0])
        if entry is not None:
            kind, way_out = entry
            return kind(f"{_subject(error)}; {way_out}")
    return None


def _of_system(error: BaseException) -> UserError | None:
    if not isinstance(error, OSError):
        return None
    way_out = _WAYS_OUT.get(error.errno or 0, _OTHER_WAY_OUT)
    return StorageError(f"{_subject(error)}; {way_out}")


def _subject(error: BaseException) -> str:
    """Return the file and what is wrong with it, or the first line of what the error says."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename
        name = name.decode(errors="replace") if isinstance(name, bytes) else name
        return f"{name}: {error.strerror}" if name else error.strerror
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {_shortened(lines[0])}" if lines else name


def _shortened(line: str) -> str:
    """Cut a line that goes on without end, as of an error that lists every file of a folder."""
    return line.rstrip(".;: ") if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
