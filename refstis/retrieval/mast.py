"""MAST: the archive's search through astroquery, the files over HTTP."""

import json
import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from refstis.retrieval.selection import (
    ArchiveFile,
    Fetched,
    Findings,
    Left,
    Recall,
    Remember,
    RetrievalError,
    Selection,
    iso_time,
    mjd,
    policy,
)

if TYPE_CHECKING:
    from refstis.retrieval.client import Patience

__all__ = ["Mast"]

log = logging.getLogger("refstis.retrieval")

_COLUMNS = (
    "sci_data_set_name",
    "sci_targname",
    "sci_instrume",
    "sci_instrument_config",
    "sci_pep_id",
    "sci_start_time",
    "sci_actual_duration",
)


# What reading an answer raises that is not of the documented form.
_STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _Missions:
    """The one place that knows astroquery.

    Its releases and its development branch differ in names of arguments, in what they do to lists that they
    are given, and in whether one answer is a list. What is called here is the same in all of them: the public
    requests that return the server's answer as it came. Two things are set up for it: time limits and
    retries, which astroquery has not, and the server's address, which it otherwise fixes when it is imported.
    """

    def __init__(self, server, patience):
        from astroquery.mast import MastMissions, conf

        from refstis.retrieval.client import make_patient

        self.server = (server or conf.server).rstrip("/")
        self.missions = MastMissions(mission="hst")
        connection = self.missions._service_api_connection  # noqa: SLF001
        if connection.SERVICE_URL.rstrip("/") != self.server:
            connection.SERVICE_URL = self.server
            self.missions.mission = "hst"  # makes the addresses of the services anew
        self.session = make_patient(self.missions._session, patience)  # noqa: SLF001
        self.pause = patience.backoff

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.session.close()

    def _know_columns(self):
        """Fetch the searchable columns: astroquery checks criteria with them, and would ask without limit."""
        from astropy.table import Table

        answer = self._json(
            self.session.get(f"{self.server}/search/util/api/v0.1/column_list", params={"mission": "hst"})
        )
        rows = [(entry["column_name"], entry["qual_type"], entry["description"]) for entry in answer]
        if not rows:
            raise ValueError("no columns")  # astroquery would take that for not having asked
        self.missions.columns["hst"] = Table(rows=rows, names=("name", "data_type", "description"))

    @staticmethod
    def _json(answer):
        answer.raise_for_status()
        return answer.json()

    def search(self, **criteria) -> Iterator[dict[str, Any]]:
        """All rows that meet the criteria, page by page, each dataset once."""
        with self.explained("search"):
            if "hst" not in self.missions.columns:
                self._know_columns()
            seen: set[str] = set()
            offset = 0
            while True:
                answer = self._json(
                    self.missions.query_criteria_async(
                        limit=policy()["search"]["rows_per_page"],
                        offset=offset,
                        sort_by=["sci_data_set_name"],
                        select_cols=list(_COLUMNS),  # astroquery 0.4.11 appends to the list
                        **criteria,
                    )
                )
                rows = [row for row in answer["results"] if row["sci_data_set_name"] not in seen]
                yield from rows
                seen.update(row["sci_data_set_name"] for row in rows)
                offset += len(answer["results"])
                if not rows or offset >= int(answer.get("totalResults", math.inf)):
                    return

    def products(self, datasets: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All products of the datasets."""
        # No more than astroquery asks for at once, so that it makes one request and draws no bar.
        step = policy()["search"]["datasets_per_product_list"]
        for begin in range(0, len(datasets), step):
            with self.explained("list of products"):
                answers = self.missions.get_product_list_async(list(datasets[begin : begin + step]))
                for answer in answers if isinstance(answers, list) else [answers]:
                    products = self._json(answer)["products"]
                    for item in products:
                        yield from item if isinstance(item, list) else [item]

    def titles(self, words: str) -> Iterator[dict[str, Any]]:
        """Programme and title of every CCD exposure of programmes with these words in their title.

        Titles are no column of the search: MAST's portal knows them, and is asked as its documentation says.
        """
        filters = [
            {"paramName": "obs_collection", "values": ["HST"]},
            {"paramName": "instrument_name", "values": ["STIS/CCD"]},
            {"paramName": "obs_title", "values": [], "freeText": f"%{words}%"},
        ]
        request = {
            "service": "Mast.Caom.Filtered",
            "params": {"columns": "proposal_id,obs_title", "filters": filters},
            "format": "json",
            "pagesize": policy()["search"]["rows_per_page"],
            "removenullcolumns": True,
        }
        page = pages = 1
        with self.explained("search for titles"):
            while page <= pages:
                # a request that takes long is answered before it is done, and asked again until it is
                for _ in range(policy()["search"]["asked_again"]):
                    text = json.dumps({**request, "page": page})
                    answer = self._json(
                        self.session.post(f"{self.server}/api/v0/invoke", data={"request": text})
                    )
                    if answer["status"] != "EXECUTING":
                        break
                    time.sleep(self.pause)
                if answer["status"] != "COMPLETE":
                    raise ValueError(f"status {answer['status']}: {answer.get('msg', '')}")
                yield from answer["data"]
                pages = int(answer["paging"]["pagesFiltered"])
                page += 1

    def address(self, file: ArchiveFile) -> str:
        """URL of a product."""
        return (
            f"{self.server}/search/hst/api/v0.1/retrieve_product?product_name={quote(file.location, safe='')}"
        )

    def explained(self, what):
        """Context in which errors say what of MAST failed."""
        return _Explained(self.server, what)


class _Explained:
    """Turns what astroquery, requests and a strange answer can raise into one error that says who failed."""

    def __init__(self, server, what):
        self.server, self.what = server, what

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _traceback):
        if error is None:
            return
        import requests
        from astroquery.exceptions import InvalidQueryError
        from astroquery.exceptions import TimeoutError as TooLongError

        from refstis.retrieval.client import cause

        rejected = isinstance(error, InvalidQueryError) or (
            isinstance(error, requests.HTTPError) and getattr(error.response, "status_code", None) == 400
        )
        if rejected:
            raise RetrievalError(f"MAST's {self.what} at {self.server} refused the query: {error}") from error
        no_json = isinstance(error, requests.JSONDecodeError)  # an OSError, too, as all errors of requests
        if isinstance(error, (OSError, TooLongError)) and not no_json:
            raise RetrievalError(
                f"MAST's {self.what} at {self.server} failed: {cause(error)}. "
                "Try again later, or take the exposures from a folder."
            ) from error
        if isinstance(error, _STRANGE):
            raise RetrievalError(
                f"MAST's {self.what} at {self.server} answered in another form than documented "
                f"({type(error).__name__}: {error}). A newer refstis or astroquery may know it."
            ) from error


class Mast:
    """The archive of the Hubble Space Telescope, as a `~refstis.retrieval.selection.Source`.

    Public data need no account. For exposures within their exclusive-access period the token is taken from
    ``MAST_API_TOKEN`` or from the keyring, where astroquery keeps it. It is looked up for those only, sent
    with downloads only, and never written anywhere.

    Parameters
    ----------
    server : str, optional
        Address of the archive; the one that astroquery is configured with by default.
    patience : refstis.retrieval.client.Patience, optional
        How often and how long to try, how many downloads at once; ``config/retrieval.yaml`` by default.
    recall : callable, optional
        Given a file name, the header facts that are remembered of it, or None.
    remember : callable, optional
        Called with a file name and its header facts when a header has come, of a wanted exposure or not.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        patience: "Patience | None" = None,
        recall: Recall | None = None,
        remember: Remember | None = None,
    ):
        from refstis.retrieval.client import Patience

        self.server, self.recall, self.remember = server, recall, remember
        self.patience = patience or Patience.default()

    def find(self, selection: Selection) -> Findings:
        """Search the catalogue.

        Amplifier, gain and binning are no columns of MAST's: they are applied to what is remembered of an
        exposure, or else when `fetch` sees its header.

        Parameters
        ----------
        selection : Selection
            What is wanted.

        Returns
        -------
        Findings

        Raises
        ------
        RetrievalError
            If MAST cannot be reached, or does not answer as documented.
        """
        findings = Findings(selection)
        with _Missions(self.server, self.patience) as missions:
            entries: dict[str, dict[str, Any]]
            if selection.rootnames:
                entries = {name.upper(): {} for name in selection.rootnames}
            else:
                entries = self._entries(missions, selection, findings.excluded)
            found = self._files(missions, selection, entries)
        for dataset in entries:
            if dataset not in found:
                findings.excluded.append(
                    Left(dataset.lower(), f"MAST lists no {dataset.lower()}_{selection.suffix}.fits")
                )
        for file in found.values():
            facts = self.recall(file.filename) if self.recall is not None else None
            reason = selection.refusal(facts) if facts is not None else None
            if reason is None:
                findings.files.append(file)
            else:
                findings.excluded.append(Left(file.filename, reason))
        findings.files.sort(key=lambda file: (file.start or 0.0, file.rootname))
        return findings

    def programs(self, title: str) -> dict[int, str]:
        """Programmes with exposures of the CCD and these words in their title.

        Parameters
        ----------
        title : str
            In upper or lower case.

        Returns
        -------
        dict
            Number to title, in order of the numbers.

        Raises
        ------
        RetrievalError
            If MAST cannot be reached, or does not answer as documented.
        """
        found: dict[int, str] = {}
        with _Missions(self.server, self.patience) as missions:
            for row in missions.titles(title):
                with missions.explained("search for titles"):
                    name = str(row["obs_title"]).strip()
                    if title.lower() in name.lower():
                        found[int(row["proposal_id"])] = name
        return dict(sorted(found.items()))

    def catalogue(self, selection: Selection) -> dict[str, dict[str, Any]]:
        """What the catalogue says of exposures, without asking for their files.

        Parameters
        ----------
        selection : Selection
            Targets, times, durations and programmes that are wanted.

        Returns
        -------
        dict
            Rootname to target, start (MJD), duration (s) and program.

        Raises
        ------
        RetrievalError
            If MAST cannot be reached, or does not answer as documented.
        """
        incomplete: list[Left] = []
        with _Missions(self.server, self.patience) as missions:
            entries = self._entries(missions, selection, incomplete)
        for left in incomplete:
            log.warning("%s %s.", left.name, left.reason)
        return {dataset.lower(): entry for dataset, entry in entries.items()}

    def fetch(
        self, findings: Findings, destination: str | Path | None = None, *, progress: bool = False
    ) -> Fetched:
        """Download what was found.

        Parameters
        ----------
        findings : Findings
            What `find` returned.
        destination : str or pathlib.Path, optional
            The folder; the working directory by default.
        progress : bool, optional
            Show a bar on stderr.

        Returns
        -------
        Fetched
        """
        from refstis.retrieval.client import find_token
        from refstis.retrieval.transfer import download

        token = None if all(file.public for file in findings.files) else find_token()
        with _Missions(self.server, self.patience) as missions:
            address = missions.address
        return download(
            findings.files,
            address,
            destination or Path(),
            findings.selection,
            self.patience,
            token=token,
            remember=self.remember,
            progress=progress,
        )

    @staticmethod
    def _entries(
        missions: _Missions, selection: Selection, excluded: list[Left]
    ) -> dict[str, dict[str, Any]]:
        """Catalogue values of the datasets that are wanted."""
        entries: dict[str, dict[str, Any]] = {}
        for target in selection.targets:
            shortest, longest = selection.duration_limits(target)
            criteria: dict[str, Any] = {
                "sci_instrume": "STIS",
                "sci_instrument_config": "STIS/CCD",
                "sci_targname": target,
                "sci_actual_duration": f"{shortest:g}..{longest:g}"
                if longest < math.inf
                else f">={shortest:g}",
            }
            # Whole seconds outside of the limits: MAST compares to the microsecond, wants() does the rest.
            begin = None if selection.begin is None else iso_time(selection.begin - 1 / 86400)
            end = None if selection.end is None else iso_time(selection.end + 1 / 86400)
            if begin and end:
                criteria["sci_start_time"] = f"{begin}..{end}"
            elif begin or end:
                criteria["sci_start_time"] = f">={begin}" if begin else f"<={end}"
            if selection.programs:
                criteria["sci_pep_id"] = ",".join(str(program) for program in selection.programs)
            for row in missions.search(**criteria):
                dataset = str(row["sci_data_set_name"]).strip().upper()
                try:
                    entry: dict[str, Any] = {
                        "target": str(row["sci_targname"]).strip(),
                        "start": mjd(datetime.fromisoformat(row["sci_start_time"])),
                        "duration": float(row["sci_actual_duration"]),
                        "program": int(row["sci_pep_id"]),
                    }
                    instrument = (row["sci_instrume"].strip(), row["sci_instrument_config"].strip())
                except _STRANGE as error:
                    excluded.append(Left(dataset.lower(), f"has an incomplete entry in MAST ({error!r})"))
                    continue
                if instrument == ("STIS", "STIS/CCD") and selection.wants(**entry):
                    entries[dataset] = entry
        return entries

    @staticmethod
    def _files(missions: _Missions, selection: Selection, entries) -> dict[str, ArchiveFile]:
        """The wanted file of each dataset, where MAST lists it."""
        found = {}
        for product in missions.products(list(entries)):
            with missions.explained("list of products"):
                dataset = str(product["dataset"]).strip().upper()
                filename = str(product["filename"]).strip().lower()
                # The name becomes a path here: nothing but the one that is expected is taken.
                if dataset not in entries or filename != f"{dataset.lower()}_{selection.suffix}.fits":
                    continue
                if not re.fullmatch(r"[a-z0-9]{9}_[a-z0-9]+\.fits", filename):
                    continue
                size = product.get("size")
                found[dataset] = ArchiveFile(
                    filename,
                    str(product["uri"]),
                    size=int(size) if size is not None and int(size) > 0 else None,
                    public=str(product.get("access", "PUBLIC")).strip().upper() == "PUBLIC",
                    **entries[dataset],
                )
        return found
