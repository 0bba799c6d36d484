"""The report of a sweep: a list of sections, rendered as an HTML page and as Markdown.

Everything is read from the run directory, so the report can be written again at any time.
"""
