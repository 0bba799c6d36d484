"""`python -m sweeps`, which is what a submitted job runs."""

from sweeps.cli.app import main

main()
