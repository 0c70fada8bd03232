"""Show attributes of a part on the module that has it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

__all__ = ["AttributeOf"]

T = TypeVar("T")


class AttributeOf(Generic[T]):
    """An attribute of a part, shown on the module that holds the part as attribute ``part``."""

    def __init__(self, part: str) -> None:
        self.part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, module: None, owner: type | None = None) -> AttributeOf[T]: ...
    @overload
    def __get__(self, module: object, owner: type | None = None) -> T: ...
    def __get__(self, module: object, owner: type | None = None) -> Any:
        return self if module is None else getattr(getattr(module, self.part), self.name)

    def __set__(self, module: object, value: Any) -> None:
        setattr(getattr(module, self.part), self.name, value)
