"""Notes while a source is read about bad rows, what made no pair and why, and scores that disagree.

A module imports only modules of `preferences` that need none of these notes, and `files.readers`.
"""
