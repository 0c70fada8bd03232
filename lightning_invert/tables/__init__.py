"""Tables of numbers, read and written in pieces: a file may be larger than the memory."""

from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.reader import TableReader
from lightning_invert.tables.units import split_unit
from lightning_invert.tables.writer import TableWriter, unused_path

__all__ = ["FormatError", "TableFormat", "TableReader", "TableWriter", "split_unit", "unused_path"]
