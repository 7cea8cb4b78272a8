"""Tests of prompts as embeddings: chunks, weights and padding."""

from __future__ import annotations

import torch

from easyphoto.sd import Parts
from easyphoto.sd.prompt import parse
from easyphoto.sd.prompt_embedding import chunks, encode


def test_a_short_prompt_is_what_the_text_encoder_says(parts: Parts) -> None:
    positive, _ = encode(parts, "a photo", "")
    ids = parts.tokenizer("a photo", padding="max_length", return_tensors="pt").input_ids
    assert torch.allclose(positive.context, parts.text_encoder(ids).last_hidden_state, atol=1e-6)


def test_a_long_prompt_goes_on_in_a_second_chunk(parts: Parts) -> None:
    words = " ".join(["photo"] * 100)
    positive, negative = encode(parts, words, "bad")
    assert positive.context.shape == negative.context.shape == (1, 154, parts.unet.config.cross_attention_dim)
    first, second = chunks(parse(words), parts.tokenizer)
    assert (len(first.ids), len(second.ids)) == (75, 25)


def test_a_phrase_at_the_end_of_a_chunk_moves_as_a_whole(parts: Parts) -> None:
    words = " ".join(["photo"] * 70) + ", " + " ".join(["face"] * 10)
    first, second = chunks(parse(words), parts.tokenizer)
    assert len(first.ids) == 71
    assert len(second.ids) == 10


def test_break_begins_a_chunk(parts: Parts) -> None:
    made = chunks(parse("photo BREAK face, face"), parts.tokenizer)
    assert [len(c.ids) for c in made] == [1, 3]


def test_a_raised_word_counts_more_and_the_mean_stays(parts: Parts) -> None:
    plain, _ = encode(parts, "photo face hair", "")
    raised, _ = encode(parts, "photo (face:1.5) hair", "")
    assert torch.allclose(plain.context.mean(), raised.context.mean(), atol=1e-5)
    ratio = raised.context[0] / plain.context[0]
    assert torch.allclose(ratio[2] / ratio[1], torch.full_like(ratio[2], 1.5), rtol=1e-3)


def test_weights_of_nothing_and_below_make_no_infinities(parts: Parts) -> None:
    for prompt in ("(photo face:0)", "(photo:-1.5) face"):
        positive, _ = encode(parts, prompt, "")
        assert bool(torch.isfinite(positive.context).all())
