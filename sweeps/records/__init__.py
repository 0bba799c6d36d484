"""What is remembered of a sweep, and the judgement over it: pure functions of records."""
