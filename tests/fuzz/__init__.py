"""Fuzzing of everything that may come from a stranger; see CONTRIBUTING.md."""
