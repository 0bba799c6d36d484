"""The files of a folder that travel to a cluster with a job, and those that never do.

What is uploaded can be read by everybody who reaches the cluster. So a checkout sends what git tracks;
another folder sends Python, YAML and the data that the config names. Keys, weights and run
directories stay here, whoever names them.

Tested in tests/unit/sweeps/jobs/test_upload.py.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dpo_core.errors import SettingsError
from sweeps.config.schema import SweepConfig

MOST_BYTES = 100 * 2**20
"""The largest upload that Ray's dashboard accepts; a larger one ends in HTTP 413."""
_ALLOWED = ("*.py", "*.yaml", "*.yml", "pyproject.toml")
_PACKAGES = ("cluster", "dpo_core", "search_spaces", "sweeps")
_KEYS = (
    *(".env", ".env.*", "*.env", ".netrc", ".pgpass", ".git-credentials", ".pypirc", ".npmrc"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "auth_token"),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", ".htpasswd", ".dockercfg"),
)
_KEY_NAME = re.compile(r"id_[a-z0-9]+(_sk)?")
_KEY_FOLDERS = frozenset(
    {".ssh", ".aws", ".azure", ".kube", ".docker", ".gnupg", ".ray", ".git", "gcloud"}
)
_KEY_CONTENT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\"type\"\s*:\s*\"service_account\"", re.ASCII
)
_WEIGHTS = ("*.safetensors", "*.gguf", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.h5")
_OF_A_RUN = ("ledger.jsonl", "prepared.json")
_LARGEST_KEY_BYTES = 64 * 2**10
_SHOWN = 5


@dataclass(frozen=True)
class Upload:
    """The files that travel, by their paths relative to the folder."""

    folder: Path
    files: tuple[PurePosixPath, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all files together."""
        return sum(self.folder.joinpath(file).stat().st_size for file in self.files)

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """Give a folder that holds these files and nothing else, for the length of the block.

        Raises:
            SettingsError: they are larger than Ray accepts.
        """
        self.check_size()
        with tempfile.TemporaryDirectory(prefix="dpo-sweeps-upload-") as staged:
            for file in self.files:
                target = Path(staged, file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.folder / file, target)
            yield Path(staged)

    def check_size(self) -> None:
        """Raise SettingsError, with the largest files, when Ray would not accept the upload."""
        if self.bytes <= MOST_BYTES:
            return
        sizes = {file: self.folder.joinpath(file).stat().st_size for file in self.files}
        largest = sorted(sizes, key=lambda file: -sizes[file])[:_SHOWN]
        shown = ", ".join(f"{file} ({sizes[file] / 2**20:.0f} MiB)" for file in largest)
        raise SettingsError(
            f"{self.folder}: {self.bytes / 2**20:.0f} MiB would be uploaded, and Ray accepts "
            f"{MOST_BYTES // 2**20}; the largest files are {shown}; leave them here with --exclude, and "
            "put data where the nodes reach it (storage, a shared folder)"
        )


def choose_files(
    folder: Path,
    config: SweepConfig,
    sweep: str,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Upload:
    """Choose what travels.

    Args:
        folder: the working directory.
        config: the sweep, which names data.
        sweep: its YAML, relative to the folder.
        include: patterns, as of a shell, of files that travel too; a folder's name means all in it.
        exclude: patterns of files that stay.

    Returns:
        The files, sorted. Keys, weights, run directories and links out of the folder are not
        among them.

    Raises:
        SettingsError: `include` names a file that never travels, or nothing.
    """
    folder = folder.resolve()
    tracked = _tracked(folder)
    base = {file for file in _walk(folder) if _is_allowed(file)} if tracked is None else tracked
    named = {file for path in (sweep, *_data_paths(config)) for file in _below(folder, path)}
    extra = {file for file in _walk(folder) if _matches(file, include)} if include else set()
    for pattern in include:
        if not any(_matches(file, [pattern]) for file in extra):
            raise SettingsError(
                f"--include: no file in {folder} matches {pattern}; correct the pattern"
            )
    for file in sorted(extra):
        if (why := _why_never(folder, file)) is not None:
            raise SettingsError(
                f"--include: {file} {why}, and such files never travel; leave it out"
            )
    chosen = {file for file in base | named if not _matches(file, exclude)} | extra
    travels = sorted(file for file in chosen if _why_never(folder, file) is None)
    return Upload(folder, tuple(travels))


def check_paths(config: SweepConfig, upload: Upload) -> None:
    """Check that what the config names by relative paths is there when the job looks for it.

    Absolute paths and URIs are the cluster's, and nothing here can tell whether they are there.

    Raises:
        SettingsError: A file does not travel, or a folder of a model, which never does.
    """
    for key, name in _named_paths(config):
        is_data, here = key.startswith("data"), upload.folder / name
        if ".." in PurePosixPath(name).parts:
            why = f"leads out of {upload.folder}, which is what travels to the cluster"
        elif is_data and not here.exists():
            why = f"is not in {upload.folder}, where the job's relative paths start"
        elif is_data and not any(file in upload.files for file in _below(upload.folder, name)):
            why = (
                "stays here, since --exclude or what it looks like (a key, weights, a run) says so"
            )
        elif not is_data and here.is_dir():
            why = "is a folder of this machine, and weights do not travel"
        else:
            continue
        raise SettingsError(
            f"{key}: {name} {why}; put it where every node reaches it, and name it "
            "by its absolute path or URI"
        )


def _named_paths(config: SweepConfig) -> Iterator[tuple[str, str]]:
    """Yield the keys whose values are relative paths, each with its value."""
    named = [("data", source.path) for source in config.data.all_sources]
    named += [(f"data.{name}_path", each.path) for name, each in config.data.fixed_splits.items()]
    named += [("model.path", config.model.path)]
    named += [("selection.incumbent", config.selection.incumbent or "")]
    for key, name in named:
        if name and "://" not in name and not name.startswith(("/", "~")):
            yield key, name


def _data_paths(config: SweepConfig) -> list[str]:
    """Return the relative paths of files and folders that the config names as data."""
    paths = (PurePosixPath(name) for key, name in _named_paths(config) if key.startswith("data"))
    return [str(path) for path in paths if ".." not in path.parts]


def _tracked(folder: Path) -> set[PurePosixPath] | None:
    """Return what git tracks in the folder, or None where it is no checkout."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--recurse-submodules"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    files = {PurePosixPath(os.fsdecode(name)) for name in listed.split(b"\0") if name}
    return files or None


def _below(folder: Path, name: str) -> Iterator[PurePosixPath]:
    """Yield the file of this name, or the files of the folder of this name."""
    path = folder / name
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    yield from (PurePosixPath(file.relative_to(folder).as_posix()) for file in files)


def _walk(folder: Path) -> Iterator[PurePosixPath]:
    """Yield every file, without virtual environments, run directories and folders of keys."""
    for path, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names or any(name in names for name in _OF_A_RUN):
            folders.clear()
            continue
        skipped = {*_KEY_FOLDERS, "__pycache__", "node_modules"}
        folders[:] = [name for name in folders if name not in skipped]
        here = Path(path).relative_to(folder)
        yield from (PurePosixPath((here / name).as_posix()) for name in names)


def _is_allowed(file: PurePosixPath) -> bool:
    is_hidden = any(part.startswith(".") for part in file.parts)
    is_of_product = file.parts[0] in _PACKAGES
    return not is_hidden and (is_of_product or _matches_name(file.name, _ALLOWED))


def _matches(file: PurePosixPath, patterns: Iterable[str]) -> bool:
    """Return whether a pattern matches the path, its name, or a folder that it lies in."""
    candidates = [str(file), file.name, *map(str, file.parents), *file.parts[:-1]]
    return any(
        fnmatch.fnmatchcase(candidate, pattern.strip("/").removeprefix("./"))
        for pattern in patterns
        for candidate in candidates
        if candidate != "."
    )


def _matches_name(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _why_never(folder: Path, file: PurePosixPath) -> str | None:
    """Return why a file never travels, or None if it may."""
    path = folder / file
    if not path.resolve().is_relative_to(folder) or not path.is_file():
        return "is a link out of the folder"
    if (
        _matches_name(file.name, _KEYS)
        or _KEY_NAME.fullmatch(file.name)
        or _KEY_FOLDERS & set(file.parts[:-1])
        or _holds_key(path)
    ):
        return "looks like a key"
    if _matches_name(file.name, _WEIGHTS):
        return "looks like weights of a model"
    is_run = any((path.parent / name).is_file() for name in _OF_A_RUN)
    return "belongs to a run directory" if is_run else None


def _holds_key(path: Path) -> bool:
    if path.stat().st_size > _LARGEST_KEY_BYTES or path.suffix == ".py":
        return False
    return bool(_KEY_CONTENT.search(path.read_bytes()))
