"""What a message advises, as a person would copy it."""

import ast
import textwrap

CALL = "InvertibilityCallback(maps="


def copied(message):
    """Return the maps that a message advises, or None, and the method that it shows, or None."""
    lines = message.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("  def ")), None)
    if first is not None:
        assert CALL not in message
        names = {}
        exec(textwrap.dedent("\n".join(lines[first : first + 2])), names)  # noqa: S102
        return None, names["invertibility_maps"]
    start = message.index(CALL)
    for end in [i for i, character in enumerate(message) if character == ")" and i > start]:
        try:
            call = ast.parse(message[start : end + 1], mode="eval").body
        except SyntaxError:
            continue
        return ast.literal_eval(call.keywords[0].value), None
    raise AssertionError(message)
