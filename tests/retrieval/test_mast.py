"""Queries, paging and filtering against a loopback MAST, with astroquery itself as the client."""

import logging

import pytest

from refstis.errors import ConfigurationError, InputError
from refstis.retrieval import RetrievalError, Selection
from refstis.retrieval.selection import policy

SEARCH = "/search/hst/api/v0.1/search"
PRODUCTS = "/search/hst/api/v0.1/post_list_products"


def names(findings):
    return [file.rootname for file in findings.files]


def queries(mast, path):
    return [query for asked, query in mast.requests if asked == path]


def test_answers_have_the_form_of_recorded_ones(mast, source, answers):
    mast.add("OC4U5RFMQ")
    source().find(Selection())
    row = mast.search(queries(mast, SEARCH)[-1])
    recorded = answers("results")
    assert set(row) == set(recorded)
    assert {key for entry in row["info"] for key in entry} == {
        key for entry in recorded["info"] for key in entry
    }
    types = {entry["name"]: entry["type"] for entry in recorded["info"]}
    for entry in row["info"]:
        assert entry["type"] == types.get(entry["name"], "VARCHAR")
    product = mast.entries["OC4U5RFMQ"].products[0]
    recorded = answers("products")["products"][0]
    assert {key: type(value) for key, value in product.items()} == {
        key: type(value) for key, value in recorded.items()
    }
    # A start time parses as the recorded ones do: ISO 8601 with a T and microseconds, without a zone.
    assert len(row["results"][0]["sci_start_time"]) == len("1993-09-24T21:00:16.633000")


def test_every_column_that_is_asked_for_is_one_of_masts(mast, source, answers):
    mast.add("OC4U5RFMQ")
    source().find(Selection(begin=55000, programs=(12740,)))
    known = {column["column_name"] for column in answers("columns")}
    for query in queries(mast, SEARCH):
        assert set(query["select_cols"]) | set(query["sort_by"]) <= known
        assert {name for condition in query["conditions"] for name in condition} <= known


def test_selects_by_target_time_program_and_duration(mast, source):
    mast.add("OWANTED0Q", start=56010.0)
    mast.add("OBIASES0Q", target="BIAS", start=56011.0, duration=0.0)
    mast.add("OSHORT00Q", start=56010.0, duration=60.0)
    mast.add("OLONGBIAS", target="BIAS", start=56010.0, duration=100.0)
    mast.add("OEARLY00Q", start=55999.9)
    mast.add("OATBEGINQ", start=56000.0)
    mast.add("OATEND00Q", start=56020.0)
    mast.add("OTHERPROG", start=56010.0, program=11111)
    mast.add("OMAMADARK", start=56010.0, config="STIS/FUV-MAMA")
    mast.add("OFLAT000Q", start=56010.0, target="CCDFLAT")
    found = source().find(Selection(begin=56000.0, end=56020.0, programs=(12740,)))
    assert names(found) == ["oatbeginq", "owanted0q", "obiases0q"]
    assert found.excluded == []
    file = found.files[1]
    assert (file.target, file.program, file.duration) == ("DARK", 12740, 1100.0)
    assert file.start == pytest.approx(56010.0, abs=1e-9)
    assert file.size == len(mast.entries["OWANTED0Q"].content)


def test_durations_of_darks_follow_the_epoch(mast, source):
    june_1999 = 51330.0
    mast.add("OOLD1800Q", start=june_1999 - 100, duration=1800.0)
    mast.add("OOLD1100Q", start=june_1999 - 100, duration=1100.0)
    mast.add("ONEW1100Q", start=june_1999 + 100, duration=1100.0)
    mast.add("ONEW1800Q", start=june_1999 + 100, duration=1800.0)
    assert names(source().find(Selection(targets=("DARK",)))) == ["oold1800q", "onew1100q"]
    own = Selection(targets=("DARK",), durations={"DARK": (1500, 2000)})
    assert names(source().find(own)) == ["oold1800q", "onew1800q"]


@pytest.mark.parametrize("page_limit", [5000, 2600])
def test_pages_beyond_the_limit(mast, source, page_limit):
    """10,001 rows: three pages of 5000; also where the server's pages are shorter than asked for."""
    mast.page_limit = page_limit
    for number in range(10_001):
        mast.add(f"O{number:07d}Q", start=56000.0 + number / 1000, content=b"")
    found = source().find(Selection(targets=("DARK",)))
    assert len(set(names(found))) == len(found.files) == 10_001
    searches = queries(mast, SEARCH)
    assert len(searches) == -(-10_001 // page_limit)
    assert {query["limit"] for query in searches} == {5000}
    lists = queries(mast, PRODUCTS)
    assert sum(len(query["dataset_ids"]) for query in lists) == 10_001
    assert (
        max(len(query["dataset_ids"]) for query in lists) <= policy()["search"]["datasets_per_product_list"]
    )


def test_takes_the_raw_or_the_flt_and_no_reference_file(mast, source):
    mast.add("OC4U5RFMQ")
    found = source().find(Selection())
    assert [file.filename for file in found.files] == ["oc4u5rfmq_raw.fits"]
    nothing = source().find(Selection(suffix="flt"))
    assert nothing.files == []
    assert nothing.excluded[0].reason == "MAST lists no oc4u5rfmq_flt.fits"


def test_rootnames_need_no_search(mast, source):
    mast.add("OC4U5RFMQ", start=40000.0, duration=5.0)
    found = source().find(Selection(rootnames=("oc4u5rfmq", "oc4u5rxxq")))
    assert names(found) == ["oc4u5rfmq"]
    assert [left.name for left in found.excluded] == ["oc4u5rxxq"]
    assert queries(mast, SEARCH) == []


def test_headers_decide_and_are_remembered(mast, source, tmp_path):
    """CCDAMP, CCDGAIN and binning are no columns of MAST's: a large unwanted file is not fetched to its end."""
    mast.add("OWANTED0Q")
    mast.add("OAMPLIFAQ", CCDAMP="A", size=2000)
    mast.add("OGAIN400Q", CCDGAIN=4)
    mast.add("OBINNED0Q", BINAXIS1=2)
    selection = Selection(amps=("D",), gains=(1,), binnings=((1, 1),))
    memory = {}
    first = source(remember=memory.__setitem__)
    fetched = first.fetch(first.find(selection), tmp_path)
    assert list(fetched.paths) == ["owanted0q_raw.fits"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owanted0q_raw.fits"]
    assert dict(fetched.excluded) == {
        "oamplifaq_raw.fits": "has CCDAMP A, wanted is D",
        "ogain400q_raw.fits": "has CCDGAIN 4, wanted is 1",
        "obinned0q_raw.fits": "is binned 2x1, wanted is 1x1",
    }
    assert len(memory) == 4
    assert memory["oamplifaq_raw.fits"]["CCDAMP"] == "A"
    # 8 MB, of which the system's buffers took what they hold and the client read one piece
    assert mast.finished["oamplifaq_raw.fits"] == 0

    mast.begun.clear()
    again = source(recall=memory.get).find(selection)
    assert names(again) == ["owanted0q"]
    assert len(again.excluded) == 3
    assert not mast.begun


@pytest.mark.parametrize("what", ["column_list", "search", "post_list_products"])
@pytest.mark.parametrize("fault", [503, 500, "drop"])
def test_passing_failures_of_queries_are_repeated(mast, source, what, fault):
    mast.add("OC4U5RFMQ")
    mast.faults[what] = [fault, fault]
    assert names(source().find(Selection())) == ["oc4u5rfmq"]
    assert mast.faults[what] == []


@pytest.mark.parametrize("what", ["column_list", "search", "post_list_products"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (503, "failed"),
        ("drop", "failed"),
        (b"", "another form"),
        (b"<html>busy</html>", "another form"),
        (b"[]", "another form"),
        (b"null", "another form"),
        (b'{"results": {"a": 1}, "products": 7, "info": [1]}', "another form"),
        (b"[" * 100_000, "another form"),
    ],
)
def test_lasting_failures_and_strange_answers_are_one_error(mast, source, what, fault, said):
    mast.add("OC4U5RFMQ")
    mast.faults[what] = [fault] * 50
    with pytest.raises(RetrievalError, match=said) as caught:
        source().find(Selection())
    assert mast.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rejected_queries_say_so(mast, source):
    mast.faults["search"] = [400]
    with pytest.raises(RetrievalError, match="refused the query"):
        source().find(Selection())


def test_no_server_is_one_error(mast, source):
    server = source()
    server.server = "http://127.0.0.1:9"
    with pytest.raises(RetrievalError, match=r"MAST's search at http://127\.0\.0\.1:9 failed: .*refused"):
        server.find(Selection())


def test_a_server_that_never_answers_ends(source, patience):
    import dataclasses
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_source = source(patience=dataclasses.replace(patience, read_timeout=0.1, attempts=2))
        silent_source.server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RetrievalError, match="timed out"):
            silent_source.find(Selection())


def test_incomplete_entries_are_left_out_by_name(mast, source):
    mast.add("OC4U5RFMQ")
    entry = mast.add("OC4U5RGMQ")
    row = entry.row | {"sci_start_time": None}
    type(entry).row, original = (
        property(lambda e: row if e is entry else original.__get__(e)),
        type(entry).row,
    )
    try:
        found = source().find(Selection())
    finally:
        type(entry).row = original
    assert names(found) == ["oc4u5rfmq"]
    assert "incomplete entry" in dict(found.excluded)["oc4u5rgmq"]


def test_names_in_an_answer_do_not_become_other_paths(mast, source, tmp_path):
    for evil in ("../../etc/cron.d/x", "/evil_raw.fits", "OC4U5RFMQ/../../a_raw.fits", "-rf_raw.fits"):
        mast.entries.clear()
        entry = mast.add("OC4U5RFMQ")
        entry.products = [product | {"filename": evil} for product in entry.products]
        assert source().find(Selection()).files == []


def test_public_data_need_no_token_and_get_none(mast, source, tmp_path, monkeypatch):
    monkeypatch.setenv("MAST_API_TOKEN", "sesame-open")
    mast.add("OC4U5RFMQ")
    archive = source()
    assert len(archive.fetch(archive.find(Selection()), tmp_path).paths) == 1
    assert mast.authorizations == [None]


def test_token_from_the_environment_and_never_in_a_log(mast, source, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("astroquery", "urllib3", "requests", "refstis"):
        caplog.set_level(logging.DEBUG, logger=name)
    mast.token = "sesame-open"
    monkeypatch.setenv("MAST_API_TOKEN", mast.token)
    mast.add("OC4U5RFMQ", access="RESTRICTED")
    archive = source()
    fetched = archive.fetch(archive.find(Selection()), tmp_path)
    assert len(fetched.paths) == 1
    assert mast.authorizations == ["token sesame-open"]
    assert caplog.records
    assert "sesame" not in caplog.text
    assert not any(b"sesame" in path.read_bytes() for path in tmp_path.iterdir())


def test_token_from_the_keyring(mast, source, tmp_path, monkeypatch):
    import keyring
    import keyring.backend
    import keyring.errors

    class Keys(keyring.backend.KeyringBackend):
        priority = 1
        locked = False

        def get_password(self, service, username):
            if self.locked:
                raise keyring.errors.KeyringLocked
            assert (service, username) == ("astroquery:mast.stsci.edu.token", "masttoken")
            return "from-the-keyring"

        def set_password(self, service, username, password):
            raise AssertionError("nothing may write a token")

    monkeypatch.delenv("MAST_API_TOKEN", raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(Keys())
    try:
        mast.token = "from-the-keyring"
        mast.add("OC4U5RFMQ", access="RESTRICTED")
        archive = source()
        found = archive.find(Selection())
        assert len(archive.fetch(found, tmp_path).paths) == 1
        (tmp_path / "oc4u5rfmq_raw.fits").unlink()
        Keys.locked = True
        fetched = archive.fetch(found, tmp_path)
    finally:
        keyring.set_keyring(before)
    assert "exclusive-access" in fetched.failed[0].reason


def test_token_is_not_sent_in_the_clear():
    import requests

    from refstis.retrieval.client import TokenAuth

    with pytest.raises(RetrievalError, match="in the clear"):
        requests.Request("GET", "http://mast.example.org/x", auth=TokenAuth("secret")).prepare()
    assert "secret" not in repr(vars(TokenAuth)) + repr(TokenAuth("secret"))


def test_wrong_selections_are_refused():
    with pytest.raises(ConfigurationError, match="first must be before"):
        Selection(begin=56000.0, end=56000.0)
    with pytest.raises(InputError, match="not the rootname"):
        Selection(rootnames=("../etc/pw",))
    with pytest.raises(ConfigurationError, match="suffix"):
        Selection(suffix="../x")
