"""Files of data: found in a folder, a saved data set or the hub, and read row by row.

    source_records -> folders, saved, hub -> readers -> strict_json

A module imports only those on its right, and `messages`.
"""
