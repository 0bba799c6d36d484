"""Search, trials and workers: the only code that runs on Ray."""
