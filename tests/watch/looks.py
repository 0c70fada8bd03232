"""Looks of a watcher without a trainer."""


def look(watcher, module, batches, **begin):
    """Offer batches to one look, and return what it found."""
    look = watcher.begin(module, **begin)
    for batch in batches:
        look.offer(batch)
    return look.read()
