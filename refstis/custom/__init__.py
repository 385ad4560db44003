"""A superdark for one science exposure: `make_custom_dark`."""

from refstis.custom.making import CustomDark, make_custom_dark

__all__ = ["CustomDark", "make_custom_dark"]
