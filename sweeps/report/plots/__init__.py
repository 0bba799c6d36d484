"""Plots of the report: plotly figures for the page, lines of characters for the Markdown."""
