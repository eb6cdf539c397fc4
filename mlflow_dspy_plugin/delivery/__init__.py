"""Ended traces -> the store, in their own time."""
