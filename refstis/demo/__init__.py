"""A month that makes itself: simulated exposures, their reference files, and how right those are."""
