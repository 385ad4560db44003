"""Ways of spoiling FITS files, texts and names: what damaged disks, other programs and malice may hand over."""

from refstis.datamodels.exposure import STORAGE_KEYWORDS

BLOCK, CARD = 2880, 80

# What no reader may execute, render, expand or write to. The file PWNED must never appear.
HOSTILE = (
    "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED", "&& touch PWNED", "\ntouch PWNED\n",
    "'; DROP TABLE exposures; --", '"; DROP TABLE anneals; --', "<script>alert(1)</script>", "{{ 7*7 }}", "{% raw %}",
    "%s%n%d", "{0.__class__}", "../../../PWNED", "/PWNED", "..", ".", "", " ", "-rf", "--help", "-", "~", "~root", "$HOME",
    "oref$", "$oref/", "oref$../PWNED", "\x1b[31mred\x1b[0m", "\r\n", "\x00", "\t", "\u202e", "\u00e9", "A" * 300, "N/A", "ANY",
    "nul", "1e400", "-1e400", "NaN", "inf", "None", "True", "[]", "{}", "0x10", "1_0", "\u0661\u0662", "2013-13-45",
    "9999-12-31", "0000-00-00", "2013-05-16T25:61:61", "[red]bold[/red]", "[/]", "[link=http://a]b[/link]",
    "!!python/object/apply:os.system ['touch PWNED']", "&a [*a, *a]", "@PWNED", "https://127.0.0.1:1/PWNED",
)  # fmt: skip
YAML_HOSTILE = (
    "!!python/object/apply:os.system ['touch PWNED']\n", "!!python/name:os.system\n", "a: &a [*a]\n", "a: {<<: *b}\n",
    "? [1, 2]\n: 3\n", "- - - - -\n", "%YAML 9.9\n---\na\n", "a: 2013-02-30\n", "a: 99:99:99\n", "a: .nan\n", "a: -.inf\n",
    "a: 0o777777777777777777777\n", "a: !!binary Z\n", "a: !!timestamp x\n", "a: !!float x\n", "a: !!int x\n", "a: !!set [1]\n",
    "a: !!omap x\n", "1: 2\n", "null: 2\n", "[1]: 2\n", "a: 1\na: 2\n", "\ufeffa: 1\n", "a:\t1\n", "a: |\n b\n  c\n", "...\n",
    "--- 1\n--- 2\n", "a: !<tag:stsci.org:2014/fits/fits> {}\n", "a: !core/asdf-1.1.0 {}\n", "!!str {}\n", "a: ''\n",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 4, 7, 8, 127, 255, 999, 32767, 32768, 65535, -32769, 2**31 - 1, 2**31, -(2**31), 2**63, -(2**63) - 1,
    10**30, 10**400,
)  # fmt: skip
# Keywords whose values decide what happens to an exposure.
TELLING = (
    "TELESCOP", "INSTRUME", "DETECTOR", "ROOTNAME", "FILENAME", "FILETYPE", "TARGNAME", "PROPOSID", "PROPTTL1",
    "OBSTYPE", "OBSMODE", "OPT_ELEM", "APER_FOV", "TEXPSTRT", "TEXPEND", "TEXPTIME", "CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1",
    "BINAXIS2", "DQICORR", "BLEVCORR", "BIASCORR", "CRCORR", "PCTECORR", "CCDTAB", "BPIXTAB", "CRREJTAB", "BIASFILE",
    "ATODGAIN", "READNSE", "NEXTEND", "SUBARRAY", "DATE", "OBSET_ID", "TASKNAME", "USEAFTER", "PEDIGREE", "DESCRIP",
    "DRK_VS_T", "REF_TEMP", "NCOMBINE",
    "EXTNAME", "EXTVER", "EXPNAME", "EXPSTART", "EXPEND", "EXPTIME", "EXPFLAG", "IMSET_OK", "BUNIT", "SDQFLAGS", "OCCDHTAV",
    "LTV1", "LTV2", "LTM1_1", "LTM2_2", "CD1_1", "MEANBLEV", "NPIX1", "NPIX2", "PIXVALUE", "INHERIT",
    "SIZAXIS1", "SIZAXIS2",
)  # fmt: skip
STORAGE = (
    *STORAGE_KEYWORDS,
    "NAXIS3",
    "END",
    "ZIMAGE",
    "TFIELDS",
    "TFORM1",
    "TTYPE1",
    "TDIM1",
    "THEAP",
    "TNULL1",
)


class Blocks:
    """A FITS file as lists of cards and bytes of data, to be put together in any wrong way."""

    def __init__(self, content):
        self.hdus = []
        begin = 0
        while begin < len(content):
            cards, place = [], begin
            while content[place : place + 8] != b"END     ":
                cards.append(content[place : place + CARD])
                place += CARD
            data = begin + -(-(place + CARD - begin) // BLOCK) * BLOCK
            end = data
            while end < len(content) and not content[end : end + 8] == b"XTENSION":
                end += BLOCK
            self.hdus.append((cards, content[data:end]))
            begin = end

    def content(self):
        parts = []
        for cards, data in self.hdus:
            header = b"".join([*cards, b"END".ljust(CARD)])
            parts += [header.ljust(-(-len(header) // BLOCK) * BLOCK), data]
        return b"".join(parts)


def value(choices):
    """The text of a card's value: right, wrong, or none at all."""
    kind = choices.integer(0, 11)
    if kind == 0:
        return str(choices.pick(NUMBERS))
    if kind == 1:
        return repr(choices.real()).upper()
    if kind == 2:
        return choices.pick(("T", "F", "t", "TRUE"))
    if kind == 3:
        return ""
    if kind == 4:
        return "'" + choices.pick(HOSTILE).replace("'", "''")
    if kind == 5:
        return choices.text(60)
    if kind == 6:
        return f"({choices.integer(0, 9)}, {choices.integer(0, 9)})"
    if kind == 7:
        return choices.pick(
            ("1.", ".5", "+3", "1E", "1D2", "1E400", "--1", "1 2", "NAN", "INF", "0.0E+00 / ", "-0.0")
        )
    if kind == 8:
        return (
            "'"
            + choices.pick(
                ("D", "A", "B", "C", "ANY", "BIAS", "DARK", "STIS", "CCD", "COMPLETE", "PERFORM", "N/A")
            )
            + "'"
        )
    if kind == 9:
        return "'" + choices.text(70).replace("'", "''") + "'"
    if kind == 10:
        return str(choices.integer(-10, 100))
    return "'" + choices.pick(HOSTILE).replace("'", "''") + "'"


def card(choices, keyword=None):
    """A card, of the usual form or of none."""
    keyword = choices.pick(TELLING) if keyword is None else keyword
    text = value(choices)
    kind = choices.integer(0, 9)
    if kind == 0:
        made = f"{keyword:8}={text}"
    elif kind == 1:
        made = f"{keyword:8}  {text}"
    elif kind == 2:
        made = f"{keyword.lower():8}= {text}"
    elif kind == 3:
        made = f"HIERARCH {keyword} = {text}"
    else:
        made = f"{keyword:8}= {text:>20} / {choices.text(20)}"
    raw = made.encode("utf-8" if choices.chance(2) else "latin-1", "replace")[:CARD].ljust(CARD)
    if choices.chance(12):
        place = choices.integer(0, CARD - 1)
        raw = raw[:place] + bytes([choices.integer(0, 255)]) + raw[place + 1 :]
    return raw


def continued(choices, keyword):
    """A long string over several cards, whole or broken off."""
    cards = [f"{keyword:8}= '{choices.text(30)}&'".encode("latin-1", "replace")[:CARD].ljust(CARD)]
    for _ in range(choices.integer(1, 3)):
        end = choices.pick(("&'", "'", "", "& '"))
        cards.append(f"CONTINUE  '{choices.text(30)}{end}".encode("latin-1", "replace")[:CARD].ljust(CARD))
    return cards


def _place(cards, keyword):
    name = keyword.encode().ljust(8)
    return next((number for number, one in enumerate(cards) if one[:8] == name), None)


def spoil_headers(choices, blocks, most=4, keywords=TELLING):
    """Change, remove, double or break cards."""
    for _ in range(choices.integer(1, most)):
        cards, _ = choices.pick(blocks.hdus)
        keyword = choices.pick(keywords)
        place = _place(cards, keyword)
        how = choices.integer(0, 9)
        if how == 0 and place is not None:
            del cards[place]
        elif how == 1:
            cards.append(card(choices, keyword))  # a second one
        elif how == 2:
            new = continued(choices, keyword)
            cards[place if place is not None else len(cards) :][:1] = new
        elif how == 3:
            cards.insert(choices.integer(0, len(cards)), choices.blob(CARD).ljust(CARD))
        elif how == 4:
            cards.insert(
                choices.integer(1, len(cards)),
                f"HISTORY {choices.text(70)}".encode()[:CARD].ljust(CARD),
            )
        elif place is not None:
            cards[place] = card(choices, keyword)
        else:
            cards.append(card(choices, keyword))


def spoil_bytes(choices, content):
    """Bytes that were cut, changed, taken out or put in."""
    how = choices.integer(0, 4)
    if how == 0:
        return content[: choices.integer(0, len(content))]
    if how == 1:
        made = bytearray(content)
        for _ in range(choices.integer(1, 20)):
            made[choices.integer(0, len(made) - 1)] = choices.integer(0, 255)
        return bytes(made)
    if how == 2:
        return content + choices.blob(6000)
    if how == 3:
        begin = choices.integer(0, len(content))
        return content[:begin] + content[begin + choices.integer(1, 2 * BLOCK) :]
    begin = choices.integer(0, len(content))
    return content[:begin] + choices.blob(2 * BLOCK) + content[begin:]


def spoil_structure(choices, content):
    """Bytes of a sound FITS file whose structure is then wrong."""
    if choices.chance(2):
        return spoil_bytes(choices, content)
    how = choices.integer(5, 9)
    blocks = Blocks(content)
    if how == 5:
        del blocks.hdus[choices.integer(0, len(blocks.hdus) - 1)]
    elif how == 6:
        blocks.hdus.insert(choices.integer(0, len(blocks.hdus)), choices.pick(blocks.hdus))
    elif how == 7:
        one, other = (choices.integer(0, len(blocks.hdus) - 1) for _ in range(2))
        blocks.hdus[one], blocks.hdus[other] = blocks.hdus[other], blocks.hdus[one]
    elif how == 8:
        number = choices.integer(0, len(blocks.hdus) - 1)
        cards, data = blocks.hdus[number]
        blocks.hdus[number] = (
            cards,
            choices.blob(len(data) or BLOCK) if choices.chance(2) else b"\xff" * len(data),
        )
    else:
        spoil_headers(choices, blocks, keywords=STORAGE)
    return blocks.content()


def spoil_text(choices, text, hostile=HOSTILE):
    """A text with characters, words or lines changed."""
    for _ in range(choices.integer(1, 4)):
        begin = choices.integer(0, len(text))
        end = min(len(text), begin + choices.integer(0, choices.pick((1, 8, 60))))
        how = choices.integer(0, 5)
        if how == 0:
            text = text[:begin] + text[end:]
        elif how == 1:
            text = text[:begin] + choices.text(10) + text[end:]
        elif how == 2:
            text = text[:begin] + choices.pick(hostile) + text[end:]
        elif how == 3:
            text = text[:begin] + text[begin:end] * choices.integer(2, 4) + text[end:]
        elif how == 4:
            lines = text.splitlines(keepends=True) or [""]
            number = choices.integer(0, len(lines) - 1)
            lines[number] = choices.pick(hostile) + "\n"
            text = "".join(lines)
        else:
            text = text[:begin] + str(choices.pick(NUMBERS)) + text[end:]
    return text


def write_text(choices, path, text):
    """Write a text, now and then in an encoding that nobody expects."""
    encoding = choices.pick(("utf-8",) * 12 + ("utf-16", "latin-1", "utf-8-sig"))
    content = text.encode(encoding, "replace")
    if choices.chance(20):
        content += choices.blob(8)
    path.write_bytes(content)


def name(choices):
    """A file name, as odd as the file system takes it."""
    text = choices.pick((
        "with space_raw.fits", "quote'_raw.fits", 'double"_raw.fits', "new\nline_raw.fits", "-leading_raw.fits",
        "$(touch PWNED)_raw.fits", "`touch PWNED`_raw.fits", "semi;touch PWNED_raw.fits", "tab\t_raw.fits", "percent%s_raw.fits",
        "brace{0}_raw.fits", "star*_raw.fits", "quest?_raw.fits", "[red]_raw.fits", "back\\slash_raw.fits", "caf\u00e9_raw.fits",
        "\u202ertl_raw.fits", "\x1b[31m_raw.fits", ".hidden_raw.fits", "..dots_raw.fits", "a" * 240 + "_raw.fits", "raw.fits",
        "_raw.fits", "x_raw.fits.gz", "x_RAW.FITS", "oref$x_raw.fits", "$oref_raw.fits", "~x_raw.fits", "a,b_raw.fits",
        "hash#_raw.fits", "colon:_raw.fits", "x[1]_raw.fits", "@x_raw.fits", "x=y_raw.fits", "&amp;_raw.fits", "\udcff_raw.fits",
    ))  # fmt: skip
    if choices.chance(4):
        text = (choices.text(60).replace("/", "_").replace("\x00", "_") or "x") + "_raw.fits"
        text = text.encode()[:240].decode(errors="ignore")
    return text if text not in {".", ".."} else "dots"
