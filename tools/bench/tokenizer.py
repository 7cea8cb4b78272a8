"""Train the tokenizer: a byte-level BPE of at most 1,600 tokens that loads as CLIPTokenizer.

    python tools/bench/tokenizer.py --captions ../shared/portraits/captions.csv --out build/bench/tokenizer

It learns from the captions and from the words people write in portrait prompts (PROMPTS, NEGATIVE), which are counted
often enough to stay whole.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from benchkit import PORTRAITS, WORK, say

START, END = "<|startoftext|>", "<|endoftext|>"
TRIGGER = "easyphoto_face, easyphoto, 1person"
PROMPTS = """
easyphoto_face, easyphoto, 1person, 1girl, 1boy, 1man, 1woman, people, child free adult portrait photo of a
man, woman lady gentleman person girl boy couple two persons, upper body, full body, close-up, close up, half
body, headshot, selfie, looking at viewer, look at the camera, facing the camera, front view, side view,
profile, realistic, photorealistic, raw photo, film photography, film grain, fujifilm, kodak, dslr, soft
light, soft lighting, natural light, studio light, studio lighting, cinematic lighting, golden hour,
backlight, rim light, sunlight, sharp focus, sharp, in focus, depth of, field, bokeh, high quality, best
quality, masterpiece, ultra detailed, highly detailed, high detail skin, detailed face, detailed eyes, perfect
face, beautiful eyes, beautiful, beauty, handsome, cute, pretty, charming, elegant, young, middle, aged,
elderly, old, happy, smile, smiling, laughing, serious, calm, neutral expression, open mouth, closed mouth,
teeth, eyes, eye, nose, mouth, lips, ears, ear, chin, cheek, cheeks, forehead, skin, freckles, wrinkles,
beard, moustache, bald, brown hair, black hair, blonde hair, red hair, grey hair, long hair, short hair,
ponytail, bangs, bun, braid, wavy hair, brown eyes, blue eyes, green eyes, white shirt, black shirt, t-shirt,
suit, dress, jacket, coat, sweater, hoodie, uniform, wedding dress, kimono, hanfu, traditional clothes,
jewelry, earrings, necklace, glasses, hat, white background, black, background, simple background, plain
background, blurred background, outdoors, indoors, street, city, park, forest, beach, mountain, snow, sky,
night, day, spring, summer, autumn, winter, office, room, cafe, garden, flowers, 4k, 8k, hd, uhd
""".replace("\n", " ")
NEGATIVE = """
nsfw, paintings, painting, sketch, sketches, cartoon, anime, drawing, worst quality, low quality, normal
quality, lowres, low resolution, blurry, blur, noise, noisy, jpeg artifacts, watermark, signature, text, logo,
username, error, cropped, monochrome, grayscale, bad anatomy, bad hands, bad face, bad eyes, bad proportions,
deformed, disfigured, distorted, ugly, extra fingers, missing fingers, fewer digits, extra limbs, extra arms,
extra legs, mutated hands, mutation, poorly drawn, hands, poorly drawn face, malformed limbs, fused fingers,
too many fingers, long neck, cross-eyed, skin spots, acnes, skin, blemishes, age spot, glans, tilted head,
duplicate, morbid, mutilated, out of frame, gross proportions, unnatural, fake, plastic skin, doll, cgi, 3d,
render, over saturated, overexposed, underexposed, dark, bad lighting, close your eyes
""".replace("\n", " ")


def train(captions: Iterable[str], size: int = 1600) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in CLIP's form, the same for the same captions.

    Byte-pair encoding after Sennrich et al., 2016. The trainer of the `tokenizers` library breaks ties by the order of
    a hash table, so that no two runs give the same numbers; here the alphabet does.
    """
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letter_of = bytes_to_unicode()
    letters = list(letter_of.values())
    words: Counter[tuple[str, ...]] = Counter()
    for text, weight in [*((caption, 1) for caption in captions), (PROMPTS, 40), (NEGATIVE, 20)]:
        for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", text.lower()):
            spelled = [letter_of[byte] for byte in word.encode()]
            spelled[-1] += "</w>"
            words[tuple(spelled)] += weight
    merges: list[tuple[str, str]] = []
    while len(merges) < size - 2 * len(letters) - 2:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, count in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += count
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        joined: Counter[tuple[str, ...]] = Counter()
        for symbols, count in words.items():
            joined[_merge(symbols, best)] += count
        words = joined
    tokens = [*letters, *(letter + "</w>" for letter in letters), *dict.fromkeys(a + b for a, b in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The symbols with every occurrence of the pair joined."""
    if pair[0] not in symbols:
        return symbols
    result: list[str] = []
    for symbol in symbols:
        # A pair that was joined just now ends in another symbol than the one that begins the pair.
        if result and (result[-1], symbol) == pair:
            result[-1] = pair[0] + pair[1]
        else:
            result.append(symbol)
    return tuple(result)


def save(vocabulary: dict[str, int], merges: list[tuple[str, str]], folder: Path) -> None:
    """Write vocab.json, merges.txt and the tokenizer's configuration."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    # The reader of merges.txt skips one line at the top.
    lines = ["#version: 0.2"] + [f"{left} {right}" for left, right in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=77,
    )
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, default=PORTRAITS / "captions.csv")
    parser.add_argument("--out", type=Path, default=WORK / "tokenizer")
    parser.add_argument("--size", type=int, default=1600)
    options = parser.parse_args()
    with options.captions.open(encoding="utf-8") as source:
        captions = sorted(record["caption"] for record in csv.DictReader(source))
    vocabulary, merges = train(captions, options.size)
    save(vocabulary, merges, options.out)
    say(f"{len(vocabulary)} tokens, {len(merges)} merges in {options.out}")


if __name__ == "__main__":
    main()
