"""Advice on what to write where it is not clear what to watch: what is advised has been tried."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from itertools import islice
from typing import Any

from torch import nn

from lightning_invert.watch.candidates import floating_parts, parts_by_path
from lightning_invert.watch.functions import has_forward
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.parts import describe, leaves, parse_part, parse_parts, path_text
from lightning_invert.watch.search import Found, Search, Watch
from lightning_invert.watch.voice import sentence

__all__ = ["advise", "advise_on_named"]

MAX_CHILDREN = 4
"""Submodules that are tried where the module's own forward serves nobody."""

MAX_COLUMNS, MAX_PARTS, MAX_OTHERS = 120, 12, 6
"""Of a message: nobody reads more. It has at most 40 lines."""

MAX_COPIED = 240
"""Columns of an entry that is copied, not read: it is one line."""


def advise(root: nn.Module, batch: Any, why: str, *, speaker: str, watch: Watch | None) -> str:
    """List the parts of a batch and the arguments of a forward, with ``maps`` to copy, or a method.

    Without ``watch`` nothing is tried, and no ``maps`` are shown.
    """
    parts = [*islice(leaves(batch), MAX_PARTS + 1)]
    functions = _functions(root)
    shown = functions[0][1] if functions else root
    lines = [
        *_prose(f"it is not clear what to watch: {sentence(why)}", begun=len(speaker) + 2, most=8),
        "The parts of a batch:",
        *(
            _cut(f"  {path_text(path) or 'the batch itself:'}  {describe(leaf)}")
            for path, leaf in parts[:MAX_PARTS]
        ),
        *(["  and more"] if len(parts) > MAX_PARTS else []),
        _cut(f"The forward of {type(shown).__name__}: forward({_signature(shown)})"),
    ]
    if watch is None:
        lines += _prose("No `maps` were tried: several processes would have to agree on each try.")
        lines += _method(root, batch)
    else:
        search = Search(root, batch, watch)
        found = search.run([(path, module.forward) for path, module in functions])
        if found is None:
            lines += _prose(
                f"No `maps` of parts of this batch work: {search.tries} calls were tried. The nearest: "
                f"{search.nearest.replace(sentence(why), 'the same.')}"
            )
            lines += _method(root, batch)
        else:
            lines += _lines_of(found, "forward", f"{speaker}(", ")")
            if found.entry.get("module") and has_forward(root):
                lines += _prose(f"The forward itself does not: {search.nearest}")
    return "\n".join([*lines, "Nothing is watched until then; training goes on."])


def advise_on_named(watched: WatchedMap, batch: Any, watch: Watch) -> str:
    """Return other ``maps`` to copy for the function of a map that a user named, or nothing."""
    root = watched.root or watched.owner
    path = _path_of(watched.function, root)
    inputs: list[Any] = [part.steps for part in watched.inputs or ()]
    found = None
    if path is not None:
        found = Search(root, batch, watch).run([(path, watched.function)], inputs)
    # What works at two rows, and failed, may have failed for lack of memory, or at other points.
    if found is None or _is_the_same(watched, found.entry):
        return ""
    return "\n" + "\n".join(_lines_of(found, watched.name))


def _is_the_same(watched: WatchedMap, entry: dict[str, Any]) -> bool:
    if isinstance(entry["input"], dict):
        return False
    inputs = [part.steps for part in parse_parts("input", entry["input"], parse_part)]
    output = parse_part("output", entry.get("output", []))
    return (
        (watched.inputs is None or [part.steps for part in watched.inputs] == inputs)
        and (watched.within is None) == ("within" not in entry)
        and bool(watched.contexts) == ("context" in entry)
        and (watched.output.steps if watched.output else ()) == output.steps
    )


def _functions(root: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return what might be watched: a module by its path, then its children that have weights."""
    own = [("", root)] if has_forward(root) else []
    inner = root.named_children() if own else root.named_modules()
    weighty = [(n, m) for n, m in inner if has_forward(m) and any(True for _ in m.parameters())]
    return own + weighty[:MAX_CHILDREN]


def _path_of(function: Callable[..., Any], root: nn.Module) -> str | None:
    """Return the path of a module or of a method, None if there is none."""
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    method = "" if owner is function else getattr(function, "__name__", "")
    paths = [path for path, module in root.named_modules() if module is owner]
    return ".".join(step for step in (*paths[:1], method) if step) if paths else None


def _lines_of(found: Found, name: str, before: str = "", after: str = "") -> list[str]:
    """Show an entry as it is to be copied, and what else its function returns."""
    lines = ["This works, as was tried with rows of this batch:"]
    whole = f"{before}maps={ ({name: found.entry})!r}{after}"
    wrapped = textwrap.wrap(
        whole,
        MAX_COLUMNS - 4,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent="  ",
    )
    is_broken = not _is_python("\n".join(wrapped))  # at a blank in a key
    shown = [whole] if len(whole) <= MAX_COPIED or is_broken else wrapped
    return [*lines, *(f"  {line}" for line in shown), *_others(found)]


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _others(found: Found) -> list[str]:
    if not found.others:
        return []
    others = ", ".join(str(list(path)) for path in found.others[:MAX_OTHERS])
    more = f" and {len(found.others) - MAX_OTHERS} more" * (len(found.others) > MAX_OTHERS)
    return _prose(f"It also returns {others}{more}: each may be the 'output' instead.")


def _method(root: nn.Module, batch: Any) -> list[str]:
    """Show the two lines of a method that make any project watchable."""
    floating = floating_parts(parts_by_path(batch))
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


def _signature(module: nn.Module) -> str:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return "..."
    return ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)


def _prose(text: str, *, begun: int = 0, most: int = 4) -> list[str]:
    """Break a text into lines, of which the first has ``begun`` already."""
    lines = textwrap.wrap(text, MAX_COLUMNS, initial_indent=" " * begun, break_on_hyphens=False)
    if len(lines) > most:
        lines[most - 1 :] = [f"{lines[most - 1][: MAX_COLUMNS - 4]} ..."]
    return [line.lstrip() for line in lines]


def _cut(line: str) -> str:
    line = " ".join(line.splitlines())
    return line if len(line) <= MAX_COLUMNS else f"{line[: MAX_COLUMNS - 3]}..."
