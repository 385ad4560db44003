"""A STIS CCD whose true bias, dark rate and hot pixels are known."""
