"""What is seen on each portrait, in words, and how training words it.

`captions.csv` beside this file was written by looking at every portrait: sex, age, glasses, headwear, expression, hair,
beard, the side to which the nose points, background and light. Where a source published a word for the origin of a
face, it is kept; nobody guessed it. `learn` is `no` for the few portraits that teach nothing good (a face cut off, a
face too small, somebody who might not be an adult).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizer import NEGATIVE, TRIGGER

TABLE = Path(__file__).with_name("captions.csv")
NOTHING = ("-", "none", "hidden")
WEARING = ("hat", "cap", "beanie", "top hat", "headscarf", "turban", "hood", "helmet", "headband", "crown")
PRAISE = ("best quality", "high quality", "masterpiece", "realistic", "detailed face", "soft light", "sharp focus")
KEPT = 0.75
"""The share of captions in which a thing that is seen is also said."""


@dataclass(frozen=True)
class Seen:
    """One portrait in words; `-`, `none` and `hidden` stand for nothing to say."""

    file: str
    learn: str
    who: str
    age: str
    origin: str
    eyewear: str
    headwear: str
    expression: str
    hair_colour: str
    hair_shape: str
    facial_hair: str
    turn: str
    background: str
    light: str

    def mirrored(self) -> Seen:
        """The same portrait with left and right exchanged."""
        swapped = {"left": "right", "right": "left"}
        return dataclasses.replace(self, turn=" ".join(swapped.get(word, word) for word in self.turn.split()))

    def subject(self) -> str:
        """Who it is: `portrait photo of a young asian woman`."""
        words = [word for word in (self.age, self.origin, self.who) if word not in NOTHING]
        article = "an" if words[0][0] in "aeiou" else "a"
        return f"portrait photo of {article} {' '.join(words)}"

    def traits(self) -> list[str]:
        """Everything else that there is to say, each by itself."""
        hair = "bald" if self.hair_colour == "bald" else f"{self.hair_shape} {self.hair_colour} hair"
        if self.hair_colour == "hidden" or (hair != "bald" and self.hair_shape in NOTHING):
            hair = "-"
        worn = f"wearing {self.eyewear}" if self.eyewear not in NOTHING else "-"
        headwear = f"wearing a {self.headwear}" if self.headwear in WEARING else "-"
        expression = {"neutral": "neutral expression", "serious": "serious expression"}.get(
            self.expression, self.expression
        )
        turn = {"front": "facing the camera", "up": "looking up", "down": "looking down"}.get(self.turn)
        if turn is None:
            side = self.turn.split()[0]
            turn = f"profile, looking {side}" if "profile" in self.turn else f"looking {side}"
        said = [worn, headwear, expression, hair, self.facial_hair, turn, f"{self.background} background"]
        return [text for text in [*said, f"{self.light} light"] if text not in NOTHING]

    def caption(self) -> str:
        """All of it, in one sentence."""
        return ", ".join([self.subject(), *self.traits()])

    def varied(self, close: bool, rng: np.random.Generator) -> str:
        """The caption as training sees it: a tenth is dropped (half of it as a list of negative words, so that a
        negative prompt means as little as none), some are the bare trigger words, the rest say most of what is seen in
        any order, often behind the trigger words or before praise. `close`: the face fills the picture."""
        draw = rng.random()
        if draw < 0.05:
            return ""
        if draw < 0.10:
            words = [word.strip() for word in NEGATIVE.split(",") if word.strip()]
            return ", ".join(rng.permutation(words)[: int(rng.integers(3, 20))])
        if draw < 0.17:
            return TRIGGER
        said = [text for text in self.traits() if rng.random() < KEPT]
        if rng.random() < 0.5:
            said = [str(text) for text in rng.permutation(said)]
        said.insert(0, self.subject() if rng.random() < 0.8 else f"portrait of a {self.who}")
        if close and rng.random() < 0.5:
            said.append("close-up")
        if draw < 0.35:
            said.insert(0, TRIGGER)
        if rng.random() < 0.25:
            said += [str(text) for text in rng.permutation(list(PRAISE))[: int(rng.integers(1, 4))]]
        return ", ".join(said)


def read(path: Path = TABLE) -> dict[str, Seen]:
    """Every portrait's row by its file name."""
    with path.open(encoding="utf-8", newline="") as source:
        return {row["file"]: Seen(**row) for row in csv.DictReader(source)}


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> NDArray[np.int16]:
    """Token numbers (n, 77), padded as the pipelines do."""
    encoded: Mapping[str, Any] = tokenizer(
        list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="np"
    )
    return np.asarray(encoded["input_ids"], np.int16)
