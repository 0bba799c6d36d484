"""`config.yaml` of a run directory: the resolved config, with an end that shows it is whole.

The beginning of a YAML file is a YAML file too: a cut-off `max_steps: 40` would run as 4. Its last two
lines are a comment with the SHA-256 of all lines before, and the end of the document.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from dpo_core.errors import SettingsError
from sweeps.config.changes import Change, config_changes
from sweeps.config.load import parse_sweep, resolved
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from sweeps.run_dir import json_files
from sweeps.run_dir.json_types import ConfigChangeJson
from sweeps.run_dir.paths import SweepPaths

_END = "..."  # of a YAML document
_DIGEST = "# sha256 of the lines above: "


def read_config(paths: SweepPaths) -> SweepConfig:
    """Read the resolved config of a sweep. Raises SettingsError when it is missing or damaged."""
    check_is_sweep(paths)
    store = paths.store
    source, content = f"{store.uri}/{paths.config}", store.read(paths.config)
    if not content.rstrip().endswith(f"\n{_END}".encode()):
        raise SettingsError(
            f"{source}: is cut off, its last line must be `{_END}`; delete it, and `dpo-sweeps run` "
            f"with the sweep's own YAML and `--id {paths.sweep_id}` goes on with what is there"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _damaged(paths, f"byte {error.start} is no UTF-8, so it is damaged") from None
    config_text, digest = _split_digest(text)
    if digest is not None and digest != _sha256(config_text):
        raise _damaged(paths, "is not what was written (its sha256 does not match)")
    return parse_sweep(text, source=source)


def check_is_sweep(paths: SweepPaths) -> None:
    """Raise SettingsError where a folder is none of a sweep, or lacks its config."""
    if not paths.store.exists(paths.config):
        if paths.store.exists(paths.prepared):
            raise _damaged(paths, "is missing", or_else="leave it so")
        raise SettingsError(
            f"{paths.store.uri}: holds no {paths.config}; give the folder of a sweep"
        )


def write_config(config: SweepConfig, paths: SweepPaths) -> None:
    """Write the resolved config, local paths absolute, and the end that shows it is whole."""
    text = dump_yaml(resolved(config, paths.storage.uri))
    paths.store.write(paths.config, f"{text}{_DIGEST}{_sha256(text)}\n{_END}\n".encode())


def take_over_changes(config: SweepConfig, paths: SweepPaths) -> list[Change]:
    """Replace the sweep's config, and write down when which key changed. Needs the sweep's lock.

    Args:
        config: The config with which the sweep goes on.
        paths: The run directory, which holds the config so far.

    Returns:
        What changed; nothing was written where nothing did.
    """
    changes = config_changes(read_config(paths), config)
    if changes:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        rows = read_changes(paths)
        rows += [{"when": when, "key": c.key, "old": c.old, "new": c.new} for c in changes]
        json_files.CONFIG_CHANGES.write(paths.store, paths.config_changes, rows)
        write_config(config, paths)
    return changes


def may_have_trials(paths: SweepPaths) -> bool:
    """Return whether a sweep has come so far that a trial of it can have been trained."""
    return paths.store.exists(paths.prepared) or bool(paths.store.names(paths.outcomes))


def read_changes(paths: SweepPaths) -> list[ConfigChangeJson]:
    """Read which keys changed since the sweep began. Raises DamagedFile."""
    return list(json_files.CONFIG_CHANGES.optional(paths.store, paths.config_changes) or [])


def _split_digest(text: str) -> tuple[str, str | None]:
    """Return the YAML before the digest, and the digest: None in files of earlier versions.

    Where the comment is not as it was written, the digest is no digest of anything.
    """
    lines = text.rstrip().splitlines(keepends=True)[:-1]
    if not lines or not ("sha256" in lines[-1] or re.search("[0-9a-f]{64}", lines[-1])):
        return "".join(lines), None
    return "".join(lines[:-1]), lines[-1].removeprefix(_DIGEST).rstrip("\n")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(paths: SweepPaths, problem: str, or_else: str = "delete it") -> SettingsError:
    return SettingsError(
        f"{paths.store.uri}/{paths.config}: {problem}; restore it from a copy, or {or_else}, and "
        f"`dpo-sweeps run` with the sweep's own YAML and `--id {paths.sweep_id}` goes on with what is "
        "there"
    )
