"""How it is shown what was seen: words, tables, pictures, and where each logger puts them."""
