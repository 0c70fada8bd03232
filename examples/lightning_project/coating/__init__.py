"""A coating line: its data and a network that predicts what comes off it."""
