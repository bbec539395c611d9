"""The namespace of :mod:`rawbert.exporter` and :mod:`rawbert.serving`.

Attributes:
    __version__: version of the installed distribution.
"""

from pkgutil import extend_path

# In the root of a clone, Python finds this folder before the installed package; it does not contain the two packages.
__path__ = extend_path(__path__, __name__)


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # here, because it takes 20 ms

    return version("rawbert")
