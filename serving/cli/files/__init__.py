"""Files of texts and files of answers, for ``rawbert embed`` and its relatives. Nothing here calls a server."""


class BadFile(Exception):
    """A file that cannot be read or written; the message contains place and reason."""
