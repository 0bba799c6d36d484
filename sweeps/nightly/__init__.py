"""One sweep a night, judged against the incumbent of the nights before."""
