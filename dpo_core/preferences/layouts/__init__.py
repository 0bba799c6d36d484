"""Rows of any layout become rows of the project's own: recognized, read, and their columns classified.

    read_source(records, source, use) -> Reading: records of pairs, rankings or labelled responses

A module imports only modules that stand before it in this list: conversations, reading, classification,
guess, recognition.
"""
