"""What a message advises, as a person would copy it."""

import ast
import textwrap

CALL = "InvertibilityCallback(maps="


def copied(message):
    """Return the maps that a message advises, and the method that it asks for, if it does."""
    start = message.index(CALL) if CALL in message else None
    maps = None
    for end in [i for i, c in enumerate(message) if c == ")"] if start is not None else ():
        try:
            call = ast.parse(message[start : end + 1], mode="eval").body
        except SyntaxError:
            continue
        maps = ast.literal_eval(call.keywords[0].value)
        break
    lines = message.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("  def ")), None)
    if first is None:
        return maps, None
    return maps, ast.parse(textwrap.dedent("\n".join(lines[first : first + 2]))).body[0].name
