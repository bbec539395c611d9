"""Numbers with their nouns in messages."""


def counted(number: int, noun: str) -> str:
    """A number and a regular English noun: ``1 row``, ``2 rows``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
