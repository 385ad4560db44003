"""Where exposures come from: MAST, the DADS request, a local folder."""
