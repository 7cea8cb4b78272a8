"""Templates: the presets that come with the program, the gallery that can be downloaded, what the user added, and
folders of pictures.

This package knows of files alone. How many faces a picture shows is counted above it, and remembered here.
"""

from easyphoto.templates.preset_store import TemplateStore
from easyphoto.templates.template import Template

__all__ = ["Template", "TemplateStore"]
