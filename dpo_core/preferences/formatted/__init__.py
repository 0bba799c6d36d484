"""Text that is already formatted: recognised by a table of known markups, and read as messages.

markups (the table) < parse (text -> messages) < rows (records of every kind of source)
"""
