"""The one place where the package's version stands."""

__version__ = "0.2.0"
