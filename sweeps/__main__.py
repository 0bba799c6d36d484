"""`python -m sweeps`, which is what a submitted job runs."""

from sweeps.cli import main

main()
