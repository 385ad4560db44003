"""The configuration file of the documented pipeline."""

from __future__ import annotations

import difflib
import logging
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from refstis.datamodels.configuration import expand_home
from refstis.datamodels.damage import parse_yaml
from refstis.errors import ConfigurationError

__all__ = ["DEFAULT_FILE", "Settings"]

logger = logging.getLogger(__name__)

DEFAULT_FILE = "~/refstis_config.yaml"
# The manual's sample has this spelling, and files were copied from it.
OTHER_SPELLINGS = {"bias_propsoals": "bias_proposals"}
# What the archive was asked for before it had a public interface.
NOT_NEEDED = ("mast_server", "mast_database", "mast_account", "mast_password")
FOLDERS = ("products_directory", "retrieve_directory", "delivery_directory", "anneal_directory", "oref")


class Settings(BaseModel):
    """What the pipeline needs to know about you and where to put things.

    Attributes
    ----------
    products_directory, retrieve_directory, delivery_directory : str or None
        Folders of products, of raws as they come from the archive, and of what is ready to deliver.
    dark_proposals, bias_proposals : tuple of int
        Programmes whose exposures are used; none means all.
    oref : str or None
        Folder of reference tables, where the environment does not have it.
    anneal_directory : str or None
        Folder of the anneal monitor's exposures.
    anneal_database : str
        File that `refstis.pop_db` writes.
    retrieve_from : str
        ``mast``, ``dads`` or a folder.
    archive, archive_user, dads_host, host, email, ftp_user, private_key : str or None
        Of requests to DADS: the archive's host and account, and where the files are to be sent.
    smtp : str
        Mail server, ``host`` or ``host:port``.
    smtp_security : str
        How it is spoken to: ``none``, ``starttls`` or ``ssl``.
    smtp_user : str or None
        Account there. Its password is in ``$REFSTIS_SMTP_PASSWORD`` or the keyring, and never here.
    test_suite : str or None
        Folder of science exposures for the regression test.
    deliverers : tuple of str
        Names in the delivery form.
    mast_server, mast_database, mast_account, mast_password : str or None
        Of old files; not used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    products_directory: str | None = None
    retrieve_directory: str | None = None
    delivery_directory: str | None = None
    dark_proposals: tuple[int, ...] = ()
    bias_proposals: tuple[int, ...] = ()
    oref: str | None = None
    anneal_directory: str | None = None
    anneal_database: str = "anneal_info.db"
    retrieve_from: str = "mast"
    archive: str | None = None
    archive_user: str | None = None
    dads_host: str | None = None
    host: str | None = None
    email: str | None = None
    ftp_user: str | None = None
    private_key: str | None = None
    smtp: str = Field(default="smtp.stsci.edu", min_length=1)
    smtp_security: Literal["none", "starttls", "ssl"] = "none"
    smtp_user: str | None = None
    test_suite: str | None = None
    deliverers: tuple[str, ...] = ()
    mast_server: str | None = None
    mast_database: str | None = None
    mast_account: str | None = None
    mast_password: SecretStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        content = dict(content)
        for other, key in OTHER_SPELLINGS.items():
            if other in content:
                if key in content:
                    raise ValueError(f"{other} and {key} are the same key; keep one")
                content[key] = content.pop(other)
        return content

    @field_validator("dark_proposals", "bias_proposals", "deliverers", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return [] if value is None else value if isinstance(value, list | tuple) else [value]

    @field_validator(*FOLDERS, "anneal_database", "private_key", "test_suite", mode="after")
    @classmethod
    def _expanded(cls, value: str | None) -> str | None:
        return None if value is None else str(expand_home(os.path.expandvars(value)))

    @classmethod
    def open(cls, path: str | os.PathLike) -> Settings:
        """Read a configuration file.

        Parameters
        ----------
        path : str or os.PathLike
            YAML file.

        Returns
        -------
        Settings
            Its values, checked.

        Raises
        ------
        ConfigurationError
            Names the key that is wrong, and never a value: it may be a password.
        """
        path = expand_home(path)
        try:
            content = parse_yaml(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigurationError(
                f"{path}: no such file. Write one: see the configuration page of the manual."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: cannot be read ({type(error).__name__}).") from None
        except ValueError as error:
            # what is wrong there may be a password: only the place is told
            where = str(error).partition(":")[0]
            raise ConfigurationError(f"{path}: {where}. Expected lines 'key: value'.") from None
        if not isinstance(content, dict):
            raise ConfigurationError(f"{path}: expected lines 'key: value'.")
        try:
            settings = cls(**{str(key): value for key, value in content.items()})
        except ValidationError as error:
            raise ConfigurationError(
                f"{path}: {'; '.join(_fault(detail) for detail in error.errors())}."
            ) from None
        unused = sorted(settings.model_fields_set.intersection(NOT_NEEDED))
        if unused:
            logger.info("%s: %s: not needed any more.", path, ", ".join(unused))
        return settings

    @classmethod
    def find(cls, path: str | os.PathLike | None = None) -> Settings:
        """Read the configuration file that is asked for, or the usual one where there is one.

        Parameters
        ----------
        path : str or os.PathLike, optional
            YAML file; ``~/refstis_config.yaml`` by default, which need not exist.

        Returns
        -------
        Settings
            Its values, or the defaults.

        Raises
        ------
        ConfigurationError
            As `open` does.
        """
        usual = Path(DEFAULT_FILE).expanduser()
        return cls.open(path or usual) if path or usual.is_file() else cls()

    def folder(self, key: str) -> Path:
        """A folder that has to be configured; it is made where it does not exist.

        Parameters
        ----------
        key : str
            Such as ``products_directory``.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        ConfigurationError
            Where the key is missing or the folder cannot be made.
        """
        name = getattr(self, key)
        if not name:
            raise ConfigurationError(f"the configuration has no {key}: name a folder.")
        path = Path(name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{key}: {path} cannot be made ({error.strerror}).") from None
        return path

    def mapping(self) -> dict[str, Any]:
        """The values without what is not needed any more.

        Returns
        -------
        dict
            By key; those that are not set are left out.
        """
        return self.model_dump(exclude=set(NOT_NEEDED), exclude_none=True)


def _fault(detail):
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, [*Settings.model_fields, *OTHER_SPELLINGS], 1)
        return f"unknown key {key!r}" + (f"; did you mean {near[0]}?" if near else "")
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}" if key else message
