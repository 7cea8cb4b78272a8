"""Which parts of a model lie on the device: all of them, or each one only while it works."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class Placement:
    """Moves modules to ``device`` before they work. With ``by_role`` every other module first goes back to ``rest``, so
    that the device holds only what works at the moment. Moving them costs time and saves memory."""

    def __init__(self, device: str | torch.device, *, by_role: bool = False, rest: str | torch.device = "cpu") -> None:
        import torch

        self.device = torch.device(device)
        self.rest = torch.device(rest)
        self.by_role = by_role
        self._there: weakref.WeakSet[Any] = weakref.WeakSet()

    def use(self, *modules: Any) -> None:
        """Bring ``modules`` to the device; with ``by_role``, remove everything else from it."""
        if self.by_role:
            self.keep_only(*modules)
        for module in modules:
            if module not in self._there:
                module.to(self.device)
                self._there.add(module)

    def keep_only(self, *modules: Any) -> None:
        """Move all modules but ``modules`` to ordinary memory. Modules that aren't on the device yet stay where they
        are."""
        for module in list(self._there):
            if not any(module is kept for kept in modules):
                module.to(self.rest)
                self._there.discard(module)

    def hand_over(self, old: Any, new: Any) -> None:
        """Count ``new`` as being where ``old`` is: they share weights, and ``new`` is the one that works now."""
        there = self.holds(old)
        self._there.discard(old)
        if there:
            new.to(self.device)
            self._there.add(new)

    def holds(self, module: Any) -> bool:
        """Return whether a module was brought to the device and is still there."""
        return module in self._there


def placed(module: Any, device: str | torch.device) -> Any:
    """Move a module to ``device``, and its convolutions to the channels-last layout, in which they run much faster."""
    import torch

    module.to(device)
    for child in module.modules():
        if isinstance(child, torch.nn.Conv2d):
            child.weight.data = child.weight.data.contiguous(memory_format=torch.channels_last)
    return module
