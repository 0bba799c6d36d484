"""The report of a sweep: one list of sections, rendered as a page that needs no network and as
Markdown. Everything is read from the sweep's folder, so it can be written again at any time."""
