"""The documented pipeline on a simulated month: folders, names, what is kept, and what fails alone."""

import email
import email.policy
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from refstis import pipeline
from refstis.basedark import make_basedark
from refstis.basejoint import make_basebias
from refstis.commands.main import registered
from refstis.datamodels.settings import Settings
from refstis.errors import ConfigurationError, InputError, OutputError, RefstisError
from refstis.functions import bias_subtract_data, figure_days_in_period
from refstis.refbias import make_refbias
from refstis.weekbias import make_weekbias
from refstis.weekdark import make_weekdark

NAME = "14826_26"
WEEKS = ("wk01", "wk02")


def of(month, target, gain=1):
    return [
        raw
        for raw in month.raws
        if (fits.getval(raw, "TARGNAME"), fits.getval(raw, "CCDGAIN")) == (target, gain)
    ]


@pytest.fixture
def folder(month, tmp_path, small_policy):
    """Folder of the month as it comes from the archive."""
    root = tmp_path / NAME
    root.mkdir()
    for raw in month.raws:
        shutil.copy(raw, root)
    return root


def tree(root):
    return {str(path.relative_to(root)) for path in root.rglob("*.fits")}


def pixels(path):
    with fits.open(path) as hdus:
        return [np.asarray(hdu.data) for hdu in hdus[1:]]


def assert_equal_pixels(one, other):
    for a, b in zip(pixels(one), pixels(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_raws_are_moved_to_the_folders_of_their_weeks(folder, month):
    contents = {raw.name: raw.read_bytes() for raw in month.raws}
    pipeline.separate_period(str(folder))
    names = {Path(name).name: str(Path(name).parent) for name in tree(folder)}
    assert set(names) == set(contents)
    times = [fits.getval(raw, "EXPSTART", 1) for raw in month.raws]
    border = min(times) + figure_days_in_period(2, max(times) - min(times))[0]
    for raw in of(month, "DARK"):
        week = "wk01" if fits.getval(raw, "EXPSTART", 1) < border else "wk02"
        assert names[raw.name] == f"darks/{week}"
    assert [names[raw.name] for raw in of(month, "BIAS")] == [f"biases/1-4x4/{week}" for week in WEEKS]
    # gain 4 of this binning is in no policy, and stars are neither biases nor darks
    assert {names[raw.name] for raw in of(month, "BIAS", 4)} | {names["od9e01010_raw.fits"]} == {"."}
    for path in folder.rglob("*.fits"):
        assert path.read_bytes() == contents[path.name]


def test_raws_are_not_moved_over_others(folder, month):
    dark = of(month, "DARK")[0].name
    (folder / "darks" / "wk01").mkdir(parents=True)
    (folder / "darks" / "wk01" / dark).write_bytes((folder / dark).read_bytes())
    with pytest.raises(OutputError, match=f"{dark}: exists already"):
        pipeline.separate_period(str(folder))
    assert (folder / dark).exists()


def test_month_of_reference_files(folder, month, tmp_path):
    pipeline.make_pipeline_reffiles(str(folder))
    products = {
        "basebias.fits",
        f"basedark_{NAME}.fits",
        *(f"biases/1-4x4/{wk}/weekbias_{NAME}_{wk}_1-4x4_bia.fits" for wk in WEEKS),
        *(f"darks/{wk}/basedark_{NAME}_{wk}.fits" for wk in WEEKS),
        *(f"darks/{wk}/weekdark_{NAME}_{wk}_drk.fits" for wk in WEEKS),
    }
    assert {name for name in tree(folder) if not name.endswith("_raw.fits")} == products

    # the same, one by one: 6 imsets are a refbias by the policy of this test, 4 are a weekbias
    biases = [str(raw) for raw in of(month, "BIAS")]
    one = tmp_path / "one"
    make_basebias(biases, one / "basebias.fits")
    make_refbias(biases[:1], one / "wk01_bia.fits")
    make_weekbias(biases[1:], one / "wk02_bia.fits", one / "basebias.fits")
    flts = {
        wk: [
            bias_subtract_data(month.folder / raw.name, one / f"{wk}_bia.fits", one)
            for raw in sorted(
                (folder / "darks" / wk).glob("*_raw.fits"), key=lambda raw: fits.getval(raw, "TEXPSTRT")
            )
        ]
        for wk in WEEKS
    }
    make_basedark(flts["wk01"] + flts["wk02"], one / "basedark.fits")
    for wk in WEEKS:
        make_weekdark(flts[wk], one / f"{wk}_drk.fits", one / "basedark.fits")
        assert_equal_pixels(
            folder / f"biases/1-4x4/{wk}/weekbias_{NAME}_{wk}_1-4x4_bia.fits", one / f"{wk}_bia.fits"
        )
        assert_equal_pixels(folder / f"darks/{wk}/basedark_{NAME}_{wk}.fits", one / "basedark.fits")
        assert_equal_pixels(folder / f"darks/{wk}/weekdark_{NAME}_{wk}_drk.fits", one / f"{wk}_drk.fits")
    assert (
        fits.getval(folder / f"biases/1-4x4/wk02/weekbias_{NAME}_wk02_1-4x4_bia.fits", "TASKNAME")
        == "WEEKBIAS"
    )

    # what exists is kept; what is missing is made again, to the same bytes
    lost = folder / f"darks/wk02/weekdark_{NAME}_wk02_drk.fits"
    content = lost.read_bytes()
    lost.unlink()
    times = {name: (folder / name).stat().st_mtime_ns for name in products if (folder / name).exists()}
    pipeline.make_pipeline_reffiles(str(folder))
    assert {name: (folder / name).stat().st_mtime_ns for name in times} == times
    assert lost.read_bytes() == content


def test_one_failure_is_one_failure(folder, month):
    broken = folder / of(month, "DARK")[0].name
    broken.write_bytes(broken.read_bytes()[:20000])
    with pytest.raises(RefstisError, match=broken.name):
        pipeline.make_pipeline_reffiles(str(folder))
    history = fits.getheader(folder / f"darks/wk01/weekdark_{NAME}_wk01_drk.fits")["HISTORY"]
    listed = [line for line in map(str, history) if line.endswith("_raw.fits")]
    assert listed
    assert not any(line.startswith(broken.name[:9]) for line in listed)


def test_baselines_of_another_month(folder, month, tmp_path):
    biases = [str(raw) for raw in of(month, "BIAS")]
    make_basebias(biases[:1], tmp_path / "last_basebias.fits")
    pipeline.make_pipeline_reffiles(str(folder), last_basebias=str(tmp_path / "last_basebias.fits"))
    history = fits.getheader(folder / f"biases/1-4x4/wk02/weekbias_{NAME}_wk02_1-4x4_bia.fits")["HISTORY"]
    assert "last_basebias.fits" in " ".join(map(str, history))


# ---------------------------------------------------------------- the configuration file


@pytest.fixture
def configuration(month, tmp_path):
    """Raws come from the folder of the simulation."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for raw in month.raws:
        (archive / raw.name).symlink_to(raw)
    path = tmp_path / "refstis_config.yaml"
    path.write_text(
        f"""
products_directory: '{tmp_path}/data/'
retrieve_directory: '{tmp_path}/requested/'
delivery_directory: '{tmp_path}/to_deliver/'
mast_server: 'server@name.stsci.edu'
mast_password: 'Pa$$w3rD'
dark_proposals:
- {fits.getval(of(month, "DARK")[0], "PROPOSID")}
bias_propsoals:
- {fits.getval(of(month, "BIAS")[0], "PROPOSID")}
anneal_database: '{month.anneals}'
retrieve_from: '{archive}'
deliverers: [Somebody]
"""
    )
    return path


@pytest.fixture
def post_office():
    """The port of a mail server on loopback, and what has arrived there."""
    controller = pytest.importorskip("aiosmtpd.controller")
    arrived = []

    class Box:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
            arrived.append(envelope)
            return "250 OK"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = controller.Controller(Box(), hostname="127.0.0.1", port=port)
    running.start()
    yield port, arrived
    running.stop()


@pytest.mark.slow
def test_command_retrieves_makes_and_delivers_the_months_of_dates(
    configuration, month, tmp_path, small_policy, monkeypatch, post_office
):
    port, arrived = post_office
    configuration.write_text(
        f"{configuration.read_text()}email: me@example.org\nsmtp: 'localhost:{port}'\nsmtp_security: none\n"
    )
    arguments = ["pipeline", "-m", "2017-06-06", "2017-06-14", "--config", str(configuration)]
    done = CliRunner().invoke(registered(), arguments)
    assert done.exit_code == 0, done.output
    made = tmp_path / "data" / "14825_05"
    assert (made / "darks.pdf").exists()
    delivered = {path.name for path in (tmp_path / "to_deliver" / "14825_05").rglob("*_???.fits")}
    assert delivered == {path.name for path in made.rglob("week*_???.fits")}
    assert len(delivered) == 4
    assert len(list(made.rglob("weekdark_*_drk.fits"))) == 2
    assert len(list(made.rglob("*_raw.fits"))) == len(month.raws) - 1  # without the star
    assert "Pa$$w3rD" not in done.output
    # the manual's last step: a mail with the form for the delivery
    (mail,) = arrived
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert (mail.mail_from, mail.rcpt_tos) == ("me@example.org", ["me@example.org"])
    assert "14825_05" in message["Subject"]
    assert "Somebody" in message.get_body().get_content()
    assert {part.get_filename() for part in message.iter_attachments()} == {
        "delivery_form.yaml",
        "certification.log",
    }
    # nothing is retrieved or made twice
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*_drk.fits")}
    monkeypatch.setattr(pipeline, "_deliver", lambda made, settings: None)
    again = CliRunner().invoke(registered(), [*arguments, "--no_collect"])
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*_drk.fits")} == before


def test_months_of_the_options(configuration):
    settings = Settings.open(configuration)
    table = pipeline._anneals(settings)
    every = pipeline._months(table, redo_all=True, between=None)
    assert pipeline._months(table, redo_all=False, between=None) == every[:1]
    assert every[0].end == max(month.end for month in every)
    with pytest.raises(ConfigurationError, match="the earlier one first"):
        pipeline._months(table, redo_all=False, between=("2017-06-14", "2017-06-06"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retrieve_directroy: x\n", "unknown key 'retrieve_directroy'; did you mean retrieve_directory"),
        ("dark_proposals: [12000, abc]\n", "dark_proposals.1"),
        ("bias_propsoals: [1]\nbias_proposals: [2]\n", "are the same key"),
        ("mast_password: [s3cret]\n", "mast_password"),
        ("mast_password: s3cret\n  bad: [\n", "not YAML in line"),
        ("- s3cret\n", "expected lines"),
    ],
)
def test_faults_of_the_configuration_name_the_key_and_no_value(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as error:
        Settings.open(path)
    assert "s3cret" not in str(error.value)
    assert str(path) in str(error.value)


def test_the_manuals_configuration_is_read(configuration, caplog):
    with caplog.at_level("INFO", logger="refstis"):
        settings = Settings.open(configuration)
    assert len(settings.bias_proposals) == 1
    assert "Pa$$w3rD" not in repr(settings) + str(settings.mapping()) + caplog.text
    assert "mast_password, mast_server: not needed any more" in caplog.text


def test_environment_of_the_user_wins_over_oref_of_the_configuration(
    configuration, monkeypatch, tmp_path, month
):
    configuration.write_text(f"{configuration.read_text()}oref: '{tmp_path}/none/'\n")
    pipeline.run_months(Settings.open(configuration), collect=False, between=("1997-03-01", "1997-03-02"))
    assert os.environ["oref"] == f"{month.oref}/"  # noqa: SIM112 - the name that headers have


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, close_folders):
    (tmp_path / "wk01").mkdir()
    close_folders("wk01")
    with pytest.raises(InputError, match=r"wk01: cannot be listed \(Permission denied\)"):
        pipeline.pull_out_subfolders(tmp_path)
