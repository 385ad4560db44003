"""Stage reference_header: the header that CRDS and users of a reference file need."""

from __future__ import annotations

from astropy.time import Time

from refstis.datamodels.exposure import Imset
from refstis.datamodels.keywords import Keywords, header_text
from refstis.datamodels.reference_header import PRODUCTS, reference_keywords
from refstis.errors import ConfigurationError
from refstis.stages.base import RefstisStep
from refstis.stages.statflag import with_statistics

__all__ = ["ReferenceHeaderStep"]

# What the extensions of a reference file keep of the exposures' headers.
KEPT = (
    "INHERIT", "BUNIT", "LTV1", "LTV2", "LTM1_1", "LTM2_2", "EXPTIME", "NCOMBINE", "SDQFLAGS", "MEANBLEV", "OCCDHTAV",
    "NGOODPIX", "GOODMIN", "GOODMAX", "GOODMEAN", "SNRMIN", "SNRMAX", "SNRMEAN",
)  # fmt: skip


class ReferenceHeaderStep(RefstisStep):
    """Write the header of a reference file: mode, dates, inputs and what was done."""

    class_alias = "reference_header"

    spec = """
    product  = option('basebias', 'refbias', 'weekbias', 'basedark', 'weekdark', default='refbias')  # Kind of product
    useafter = string(default=None)  # Holds from this date on (UTC, ISO); the start of the first input
    """

    def process(self, exposure):
        """Write the header.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            A normalized superbias or superdark.

        Returns
        -------
        Exposure
            With the header of a reference file.

        Raises
        ------
        ConfigurationError
            Where ``useafter`` is no date.
        """
        exposure = self.open(exposure)
        kind = PRODUCTS[self.product]
        header, history = reference_keywords(kind, exposure, self._useafter())
        imset = with_statistics(exposure.imsets[0])
        kept = Imset(
            imset.sci,
            imset.err,
            imset.dq,
            *(_kept(keywords) for keywords in (imset.sci_header, imset.err_header, imset.dq_header)),
        )
        product = exposure.changed(imsets=[kept])
        for line in history:
            header.add_history(header_text(line))
        return type(product)(
            primary=Keywords(header),
            imsets=product.imsets,
            path=None,
            inputs=product.inputs,
            procedure=product.procedure,
        )

    def _useafter(self):
        if self.useafter is None:
            return None
        try:
            return Time(self.useafter, scale="utc").mjd
        except ValueError:
            raise ConfigurationError(
                f"reference_header: useafter is {self.useafter!r}; expected a date such as 2023-10-19 or "
                "2023-10-19T06:30:00."
            ) from None


def _kept(keywords):
    from astropy.io import fits

    header = keywords.header()
    return Keywords(fits.Header([(key, header[key], header.comments[key]) for key in KEPT if key in header]))
