"""Starts the command `dpo-sweeps`, unless another package has taken the place of ours.

PyPI's package `sweeps` of Weights & Biases installs an import package of the same name. It must be
noticed before that name is imported, so this module stands outside of it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution

EXIT_MISTAKE = 2


def main() -> None:
    """Run the command line, or say in one line which package is in its way."""
    problem = foreign_package()
    if problem is not None:
        sys.stderr.write(f"error: {problem}\n")
        raise SystemExit(EXIT_MISTAKE)
    import_module("sweeps.cli.app").main()


def foreign_package() -> str | None:
    """Return what to do about an installed package that is imported instead of ours, or None."""
    try:
        version = distribution("sweeps").version
    except PackageNotFoundError:
        return None
    return (
        f"the package sweeps {version} (of Weights & Biases) is installed and takes the place of "
        "dpo-sweeps' own `sweeps`; pip uninstall -y sweeps, then pip install --force-reinstall "
        "--no-deps dpo-sweeps"
    )
