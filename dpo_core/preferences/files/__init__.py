"""Files of data: found in a folder, a saved data set or the hub, and read row by row.

    source_records -> hub, saved -> folders -> choose_files, readme -> formats
    formats -> csv_rows, parquet_rows -> readers -> strict_json -> unpack

A module imports only those on its right, and `messages`.
"""
