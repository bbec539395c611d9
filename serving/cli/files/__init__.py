"""Files of texts, and files of vectors: what ``rawbert embed`` reads and writes. Nothing here calls a server."""


class BadFile(Exception):
    """A file that cannot be read or written; the message says where and why."""
