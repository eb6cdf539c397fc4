"""Runs written in their own time: what is said of a run goes to a journal on disk, and from there to the store."""
