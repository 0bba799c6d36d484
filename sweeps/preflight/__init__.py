"""What can be said before a sweep runs: a plan of its cost, an audit of its data."""
