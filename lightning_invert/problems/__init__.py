"""Known processes, one file each: where they are used, and what they answer."""
