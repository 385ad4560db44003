"""The steps: one stpipe Step per module, with its spec, its reference files and one call into calibration."""
