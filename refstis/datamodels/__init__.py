"""What flows through refstis: exposures and their imsets, associations, reference tables, headers."""

from refstis.datamodels.configuration import config_path

__all__ = ["config_path"]
