"""Looking at what is trained already."""
