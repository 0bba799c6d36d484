"""A sweep's run directory: the name of every file in it, and its readers and writers."""
