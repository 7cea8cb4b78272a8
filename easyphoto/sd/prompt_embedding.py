"""From a weighted prompt to the text embedding that the UNet attends to, in chunks as WebUIs make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from easyphoto.sd import prompt as prompts
from easyphoto.sd import strategies
from easyphoto.sd.parts import Parts

if TYPE_CHECKING:
    import torch

COMMA_BACKTRACK = 20
"""A phrase that would be cut by the end of a chunk moves to the next, if its comma is at most so many tokens back."""


@dataclass(frozen=True, eq=False)
class PromptEmbedding:
    """A prompt as the UNet attends to it. ``context`` is (1, tokens, width), ``pooled`` is (1, width) and belongs to
    SDXL only."""

    context: torch.Tensor
    pooled: torch.Tensor | None = None


@dataclass
class Chunk:
    """Token ids, without those of begin and end, and the weight of each one."""

    ids: list[int]
    weights: list[float]


def chunks(spans: Sequence[prompts.Span], tokenizer: Any) -> list[Chunk]:
    """Return the tokens of a prompt in chunks of the tokenizer's length less two. There is at least one chunk, which
    may be empty."""
    size = int(tokenizer.model_max_length) - 2
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    done: list[Chunk] = []
    now = Chunk([], [])
    after_comma = -1
    for span in spans:
        if span.is_break:
            done.append(now)
            now, after_comma = Chunk([], []), -1
            continue
        for token in tokenizer(span.text, add_special_tokens=False, truncation=False, verbose=False).input_ids:
            if len(now.ids) == size:
                moves = token != comma and after_comma >= 0 and size - after_comma <= COMMA_BACKTRACK
                keep = after_comma if moves else size
                rest = Chunk(now.ids[keep:], now.weights[keep:])
                done.append(Chunk(now.ids[:keep], now.weights[:keep]))
                now, after_comma = rest, -1
            now.ids.append(token)
            now.weights.append(span.weight)
            if token == comma:
                after_comma = len(now.ids)
    if now.ids or not done:
        done.append(now)
    return done


def encode(parts: Parts, prompt: str, negative: str) -> tuple[PromptEmbedding, PromptEmbedding]:
    """Return the embeddings of a prompt and of its negative prompt, which are equally long."""
    strategy = strategies.of(parts.family)
    parts.placement.use(*parts.text_encoders)
    texts = [prompts.parse(prompt), prompts.parse(negative)]
    contexts: list[list[torch.Tensor]] = [[], []]
    pooled: list[torch.Tensor | None] = [None, None]
    for tokenizer, encoder in zip(parts.tokenizers, parts.text_encoders, strict=True):
        both = [chunks(spans, tokenizer) for spans in texts]
        length = max(len(c) for c in both)
        for side, own in enumerate(both):
            padded = own + [Chunk([], []) for _ in range(length - len(own))]
            context, pool = _encode_chunks(tokenizer, encoder, padded, penultimate=strategy.penultimate)
            contexts[side].append(context)
            pooled[side] = pool if pool is not None else pooled[side]
    import torch

    joined = [torch.cat(c, dim=-1) if len(c) > 1 else c[0] for c in contexts]
    if strategy.blank_negative and not negative.strip():
        joined[1] = torch.zeros_like(joined[1])
        pooled[1] = torch.zeros_like(pooled[1]) if pooled[1] is not None else None
    return PromptEmbedding(joined[0], pooled[0]), PromptEmbedding(joined[1], pooled[1])


def _encode_chunks(
    tokenizer: Any, encoder: Any, parts: Sequence[Chunk], *, penultimate: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    import torch

    device = next(encoder.parameters()).device
    ids, weights = zip(*(_frame(chunk, tokenizer) for chunk in parts), strict=True)
    tokens = torch.tensor(ids, device=device)
    with torch.no_grad():
        output = encoder(tokens, output_hidden_states=penultimate)
    hidden = (output.hidden_states[-2] if penultimate else output.last_hidden_state).float()
    factors = torch.tensor(weights, device=device).unsqueeze(-1)
    if not bool((factors == 1).all()):
        weighted = hidden * factors
        # The mean of a chunk stays what it was, or a raised word would brighten the whole picture.
        before, after = hidden.mean(dim=(1, 2), keepdim=True), weighted.mean(dim=(1, 2), keepdim=True)
        hidden = weighted * torch.where(after.abs() > 1e-8, before / after, 1.0)
    pooled = output.text_embeds[:1].float() if hasattr(output, "text_embeds") else None
    return hidden.reshape(1, -1, hidden.shape[-1]), pooled


def _frame(chunk: Chunk, tokenizer: Any) -> tuple[list[int], list[float]]:
    """Return begin, tokens, end and padding: as many ids as the tokenizer's full length."""
    size = int(tokenizer.model_max_length)
    end = tokenizer.eos_token_id
    padding = size - 2 - len(chunk.ids)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids = [tokenizer.bos_token_id, *chunk.ids, end, *[pad] * padding]
    return ids, [1.0, *chunk.weights, 1.0, *[1.0] * padding]
