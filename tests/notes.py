"""A module of a project's own that only keeps state."""

count = 0
rows = []
