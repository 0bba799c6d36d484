"""`config.yaml` of a run directory: the resolved config, with an end that shows it is whole.

The beginning of a YAML file is a YAML file too: a cut-off `max_steps: 40` would run as 4.
"""

from __future__ import annotations

from dpo_core.errors import SettingsError
from sweeps.config.load import parse_sweep, resolved
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from sweeps.run_dir.paths import SweepPaths

_END = "..."  # of a YAML document


def read_config(paths: SweepPaths) -> SweepConfig:
    """Read the resolved config of a sweep. Raises SettingsError when it is missing or damaged."""
    store = paths.store
    if not store.exists(paths.config):
        raise SettingsError(f"{store.uri}: holds no {paths.config}; give the folder of a sweep")
    source, content = f"{store.uri}/{paths.config}", store.read(paths.config)
    if not content.rstrip().endswith(f"\n{_END}".encode()):
        raise SettingsError(
            f"{source}: is cut off, its last line must be `{_END}`; delete it, and `dpo-sweeps run` "
            f"with the sweep's own YAML and `--id {paths.sweep_id}` goes on with what is there"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{source}: byte {error.start} is no UTF-8, so it is damaged; restore it from a copy, or "
            f"delete it, and `dpo-sweeps run` with the sweep's own YAML and `--id {paths.sweep_id}` "
            "goes on with what is there"
        ) from None
    return parse_sweep(text, source=source)


def write_config(config: SweepConfig, paths: SweepPaths) -> None:
    """Write the resolved config, local paths absolute, and the end that shows it is whole."""
    text = dump_yaml(resolved(config, paths.storage.uri))
    paths.store.write(paths.config, f"{text}{_END}\n".encode())
