"""EasyPhoto: photos of one person in, portraits of that person out."""

__version__ = "0.1.0"
