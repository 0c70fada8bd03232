"""A forward surrogate and its inverse, trained together."""
