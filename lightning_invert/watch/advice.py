"""Advice on what to write where it is not clear what to watch: what is advised has been tried."""

from __future__ import annotations

import textwrap
from itertools import islice, pairwise
from typing import Any

from torch import nn

from lightning_invert.watch.candidates import floating_parts
from lightning_invert.watch.functions import has_forward, parameters_of
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.parts import describe, path_text, walk
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.search import MAX_PARTS, Found, Search, Watch
from lightning_invert.watch.voice import sentence

__all__ = ["advise", "advise_on_named"]

MAX_CHILDREN = 4
"""Submodules that are tried where the module's own forward serves nobody."""

MAX_COLUMNS, MAX_LISTED, MAX_OTHERS = 120, 12, 6
"""Of a message: nobody reads more. It has at most 40 lines. What is to be copied is one of them."""


def advise(root: nn.Module, batch: Any, why: str, *, speaker: str, watch: Watch | None) -> str:
    """List the parts of a batch and the arguments of a forward, with ``maps`` to copy, or a method.

    Without ``watch`` nothing is tried, and no ``maps`` are shown.
    """
    own = [("", root)] if has_forward(root) else []
    inner = root.named_children() if own else root.named_modules()
    weighty = [(n, m) for n, m in inner if has_forward(m) and any(True for _ in m.parameters())]
    functions = own + weighty[:MAX_CHILDREN]
    parts = [*islice(walk(batch), MAX_PARTS)]
    leaves = [
        part for part, (after, _) in pairwise([*parts, ((), None)]) if len(after) <= len(part[0])
    ]
    shown = functions[0][1] if functions else root
    signature = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters_of(shown).values())
    lines = [
        *_prose(f"it is not clear what to watch: {sentence(why)}", begun=len(speaker) + 2, most=8),
        "The parts of a batch:",
        *(
            _cut(f"  {path_text(path) or 'the batch itself:'}  {describe(leaf)}")
            for path, leaf in leaves[:MAX_LISTED]
        ),
        *(["  and more"] if len(leaves) > MAX_LISTED else []),
        _cut(f"The forward of {type(shown).__name__}: forward({signature})"),
    ]
    found = None
    if watch is None:
        lines += _prose("No `maps` were tried: several processes would have to agree on each try.")
    else:
        search = Search(root, batch, watch)
        found = search.run([(path, module.forward) for path, module in functions])
        if found is None:
            lines += _prose(
                f"No `maps` of parts of this batch work: {search.tries} calls were tried. The nearest: "
                f"{search.nearest.replace(sentence(why), 'the same.')}"
            )
        else:
            lines += _lines_of(found, "forward", f"{speaker}({{}})")
            if found.entry.get("module") and own:
                lines += _prose(f"The forward itself does not: {search.nearest}")
    lines += [] if found else _method(root, batch)
    return "\n".join([*lines, "Nothing is watched until then; training goes on."])


def advise_on_named(watched: WatchedMap, batch: Any, watch: Watch) -> str:
    """Return other ``maps`` to copy for the function of a map that a user named, or nothing."""
    root, function = watched.root or watched.owner, watched.function
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    paths = [path for path, module in root.named_modules() if module is owner]
    if not paths:
        return ""
    method = "" if owner is function else getattr(function, "__name__", "")
    path = ".".join(filter(None, (paths[0], method)))
    inputs: list[Any] = [part.steps for part in watched.inputs or ()]
    found = Search(root, batch, watch).run([(path, function)], inputs)
    if found is None:
        return ""
    # What works at two rows, and failed, may have failed for lack of memory, or at other points.
    (advised,) = resolve_maps({watched.name: found.entry}, root)
    same = all(getattr(advised, k) == getattr(watched, k) for k in ("within", "contexts", "output"))
    if same and watched.inputs in (None, advised.inputs):
        return ""
    return "\n" + "\n".join(_lines_of(found, watched.name))


def _lines_of(found: Found, name: str, call: str = "{}") -> list[str]:
    """Show an entry as it is to be copied, and what else its function returns."""
    lines = ["This works, as was tried with rows of this batch:"]
    lines += [f"  {call.format(f'maps={ ({name: found.entry})!r}')}"]
    if found.others:
        others = ", ".join(str(list(path)) for path in found.others[:MAX_OTHERS])
        more = f" and {len(found.others) - MAX_OTHERS} more" * (len(found.others) > MAX_OTHERS)
        lines += _prose(f"It also returns {others}{more}: each may be the 'output' instead.")
    return lines


def _method(root: nn.Module, batch: Any) -> list[str]:
    """Show the two lines of a method that make any project watchable."""
    floating = floating_parts(dict(islice(walk(batch), MAX_PARTS)))
    name, function, part = "x", "self.net", "lambda batch: self.embed(batch)"
    if floating:
        path, function = floating[0], "self"
        last = str(path[-1]) if path else "x"
        name, part = last if last.isidentifier() else "x", repr(list(path))
    return [
        *_prose(
            f"Add a method to {type(root).__name__} that says what to watch: a function of tensors with a "
            "row for each point, which returns one, written as your validation_step calls it."
        ),
        "  def invertibility_maps(self):",
        f"      return {{'forward': {{'module': lambda {name}: {function}({name}), 'input': {part}}}}}",
    ]


def _prose(text: str, *, begun: int = 0, most: int = 4) -> list[str]:
    """Break a text into lines, of which the first has ``begun`` already."""
    lines = textwrap.wrap(text, MAX_COLUMNS, initial_indent=" " * begun, break_on_hyphens=False)
    if len(lines) > most:
        lines[most - 1 :] = [f"{lines[most - 1][: MAX_COLUMNS - 4]} ..."]
    return [line.lstrip() for line in lines]


def _cut(line: str) -> str:
    line = " ".join(line.splitlines())
    return line if len(line) <= MAX_COLUMNS else f"{line[: MAX_COLUMNS - 3]}..."
