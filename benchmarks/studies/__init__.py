"""Studies that are run by hand."""
