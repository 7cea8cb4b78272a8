"""The weights that the project can use: what they are, where they lie, and the only code that downloads anything."""

from easyphoto.catalog.assets import Asset, Bundle
from easyphoto.catalog.catalog import Catalog, Look
from easyphoto.catalog.download_plan import DownloadPlan, FileVerdict, Present
from easyphoto.catalog.model_folders import Folders

__all__ = ["Asset", "Bundle", "Catalog", "Folders", "Look", "DownloadPlan", "Present", "FileVerdict"]
