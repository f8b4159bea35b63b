"""A ViT's last block for the class token alone, where the model reads no other token: the same result for less work.

The class token has one query a head. Its scores are q . (W_k x) = (W_k' q) . x, and what it sees is the sum of
p W_v x = W_v (sum of p x): so no key and no value of another token is computed, only the products with x. The keys'
bias adds one number to all scores of a head and drops out of the softmax.
"""

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import nn

from emohelpers.models.cache import memory


def read_alone(model: nn.Module, example: torch.Tensor) -> bool:
    """Lets the last block compute the class token alone, if the model reads no other; says whether it does.

    Outputs and gradients stay the same but for rounding, which is tried on `example` (n, 3, h, w);
    `trunk.restore` undoes it.
    """
    last = getattr(model, "blocks", [None])[-1]
    if type(last) is not Block or type(last.attn) is not Attention or type(last.attn.qkv) is not nn.Linear:
        return False
    with memory.examined(model):
        whole = type(model).forward(model, example)
        last.forward = MethodType(_block, last)
        try:
            same = memory.near(type(model).forward(model, example), whole)
        except (IndexError, RuntimeError):  # its head reads a token that is no more
            same = False
    if not same:
        del last.forward
    return same


def _block(block: Block, tokens: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """timm's Block for its first token: (n, tokens, width) -> (n, 1, width)."""
    first = tokens[:, :1] + block.drop_path1(block.ls1(_attention(block.attn, block.norm1(tokens))))
    return first + block.drop_path2(block.ls2(block.mlp(block.norm2(first))))


def _attention(attention: Attention, tokens: torch.Tensor) -> torch.Tensor:
    """timm's Attention with the first token's query: (n, tokens, width) -> (n, 1, width)."""
    plain = type(attention.k_norm) is nn.Identity  # a norm of the keys needs the keys
    seen = (_seen if plain else _seen_by_keys)(attention, tokens).reshape(len(tokens), 1, -1)
    seen = getattr(attention, "norm", nn.Identity())(seen)  # timm 1.0.19 has neither norm nor gate
    if getattr(attention, "gate", None) is not None:
        seen = seen * attention.gate(tokens[:, :1]).sigmoid()
    return attention.proj_drop(attention.proj(seen))


def _seen(attention: Attention, tokens: torch.Tensor) -> torch.Tensor:
    """What each head sees, (n, heads, width of a head), see above; in float32: a long product in half would drift."""
    with torch.autocast(tokens.device.type, enabled=False):
        tokens, heads = tokens.float(), attention.num_heads
        query, key, value = attention.qkv.weight.chunk(3)
        bias = attention.qkv.bias
        bias = torch.zeros_like(query[:, 0]).repeat(3) if bias is None else bias
        query = attention.q_norm(F.linear(tokens[:, 0], query, bias[: len(query)]).unflatten(1, (heads, -1)))
        asked = torch.einsum("nhd,hdc->nhc", query * attention.scale, key.unflatten(0, (heads, -1)))
        share = attention.attn_drop((asked @ tokens.mT).softmax(-1))
        seen = torch.einsum("nhc,hdc->nhd", share @ tokens, value.unflatten(0, (heads, -1)))
        return seen + share.sum(-1, keepdim=True) * bias[-len(value) :].unflatten(0, (heads, -1))


def _seen_by_keys(attention: Attention, tokens: torch.Tensor) -> torch.Tensor:
    """The same with the keys and values of all tokens, by SDPA."""
    width = len(attention.qkv.weight) // 3
    weight, bias = attention.qkv.weight, attention.qkv.bias
    own, rest = (None, None) if bias is None else (bias[:width], bias[width:])
    query = F.linear(tokens[:, :1], weight[:width], own).unflatten(2, (1, attention.num_heads, -1))
    both = F.linear(tokens, weight[width:], rest).unflatten(2, (2, attention.num_heads, -1))
    query, key, value = (part.transpose(1, 2) for part in (*query.unbind(2), *both.unbind(2)))
    dropout = attention.attn_drop.p if attention.training else 0.0
    return F.scaled_dot_product_attention(attention.q_norm(query), attention.k_norm(key), value, dropout_p=dropout)
