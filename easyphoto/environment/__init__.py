"""Our own Python environment beside a host's: how it is made, checked and found.

A WebUI's Python is not ours: nothing is installed there. The trainer and the vision worker run in a virtual environment
beside the extension, which falls back on the host's site-packages for torch, numpy and whatever else fits, and holds
what the host lacks or has too old. Only the standard library is used here, so that ``install.py`` works in any host.

Makers wait for one another; what is being made takes the place of what is there in one instant.

    python install.py            make or update it, with the Python of the host
    status()                     is it there, whole, and for this host?
    ensure(listener, cancelled)  its interpreter; made first if need be, from a running host
"""

from easyphoto.environment.making import HostPython, create, ensure, inspect
from easyphoto.environment.packages import COMMON, SETS, PackageSet, choose, parse_version, requirements_of
from easyphoto.environment.places import FOLDER, STAMP, EnvironmentStatus, installed, interpreter, status

__all__ = [
    "COMMON", "FOLDER", "SETS", "STAMP", "EnvironmentStatus", "HostPython", "PackageSet", "choose", "create", "ensure",
    "inspect", "installed", "interpreter", "parse_version", "requirements_of", "status",
]  # fmt: skip
