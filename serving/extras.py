"""Extras of the distribution, for messages about missing ones."""

import sys

#: The newest Python version with wheels of TensorFlow 2.21.
_NEWEST = (3, 13)


def how_to_install(extra: str) -> str:
    """The command that installs an extra; on a Python without wheels, also the reason for its failure."""
    command = f"pip install 'rawbert[{extra}]'"
    if extra in ("export", "train", "server") and sys.version_info[:2] > _NEWEST:
        running, newest = (".".join(map(str, version)) for version in (sys.version_info[:2], _NEWEST))
        return f"{command} in Python 3.11 to {newest}: TensorFlow 2.21 has no wheels for {running}"
    return command
