"""Small files that services read when they start."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> bool:
    """Write a file that only its owner can read, in one step; returns whether that changed it."""
    try:
        if path.read_text() == text:
            path.chmod(0o600)
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
    return True
