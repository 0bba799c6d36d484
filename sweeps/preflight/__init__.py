"""Commands that look at a sweep before it runs: a plan of its cost, an audit of its data."""
