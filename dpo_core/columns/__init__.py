"""The language of `data.columns`, and the table of published layouts that is written in it."""
