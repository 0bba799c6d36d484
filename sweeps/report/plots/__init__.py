"""Plots for the report's page and its Markdown."""
