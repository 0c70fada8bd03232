"""Watching a module's maps, without Lightning: which maps, at which points, when, and what is seen."""
