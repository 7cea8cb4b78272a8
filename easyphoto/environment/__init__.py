"""Our own Python environment beside a host's: how it is made, checked and found.

EasyPhoto installs nothing into a WebUI's Python, because that Python isn't ours. The trainer and the vision worker run
in a virtual environment beside the extension. It takes torch, numpy and whatever else fits from the host's
site-packages, and holds the packages that the host lacks or has in too old a version. Only the standard library is used
here, so that ``install.py`` works in any host.

Processes that make an environment wait for one another, and a new environment takes the place of the old one in one
instant.

    python install.py            make or update it, with the Python of the host
    status()                     is it there, complete, and for this host?
    ensure(listener, cancelled)  its interpreter, from a running host; it is made first if necessary
"""

from easyphoto.environment.making import HostPython, create, ensure, inspect
from easyphoto.environment.packages import COMMON, SETS, PackageSet, choose, parse_version, requirements_of
from easyphoto.environment.places import FOLDER, STAMP, Status, installed, interpreter, status

__all__ = [
    "COMMON", "FOLDER", "SETS", "STAMP", "HostPython", "PackageSet", "Status", "choose", "create", "ensure", "inspect",
    "installed", "interpreter", "parse_version", "requirements_of", "status",
]  # fmt: skip
