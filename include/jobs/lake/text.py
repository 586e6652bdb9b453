"""Text that others wrote, for people to read: in a log, a page, a terminal."""


def printable(text: str) -> str:
    """The text on one line; what does not print, or would turn the line around, as its number: `\\u001b`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)
