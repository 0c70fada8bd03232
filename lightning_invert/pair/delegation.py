"""Show attributes of a part on the module that has it."""

from __future__ import annotations

from typing import Any

__all__ = ["AttributeOf"]


class AttributeOf:
    """An attribute of a part, shown on the module that has the part.

    Args:
        part: Name of the module's attribute that holds the part.
    """

    def __init__(self, part: str) -> None:
        self.part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        return self if module is None else getattr(getattr(module, self.part), self.name)

    def __set__(self, module: Any, value: Any) -> None:
        setattr(getattr(module, self.part), self.name, value)
