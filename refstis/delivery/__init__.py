"""Whether reference files are good, and what is handed over with them.

`check_files` gives verdicts, `certify_files` asks CRDS's own code, `regress` calibrates exposures with the new
files, `plot_obset` and `write_report` show them, `make_package` puts a delivery together and `send_mail` sends its
form. Nothing is imported before it is used.
"""

import importlib

_NAMES = {
    "MailServer": "mail",
    "certify_files": "certification",
    "check_files": "checks",
    "find_products": "products",
    "make_form": "form",
    "make_package": "package",
    "plot_obset": "plots",
    "regress": "regression",
    "send_mail": "mail",
    "set_descrip": "descriptions",
    "write_index": "report",
    "write_report": "report",
}

__all__ = [
    "MailServer",
    "certify_files",
    "check_files",
    "find_products",
    "make_form",
    "make_package",
    "plot_obset",
    "regress",
    "send_mail",
    "set_descrip",
    "write_index",
    "write_report",
]


def __getattr__(name):
    if name in _NAMES:
        return getattr(importlib.import_module(f"refstis.delivery.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'refstis.delivery' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_NAMES])
