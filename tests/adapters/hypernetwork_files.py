"""Hypernetworks as A1111 writes them, and what they do, step by step in plain arithmetic."""

import torch
from torch import nn
from torch.nn import functional as F

APPLIED = {
    None: lambda x: x,
    "linear": lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "leakyrelu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "swish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "silu": lambda x: x / (1 + (-x).exp()),
    "mish": lambda x: x * (1 + x.exp()).log().tanh(),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "celu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1)),
    "relu6": lambda x: x.clamp(0, 6),
    "hardtanh": lambda x: x.clamp(-1, 1),
    "hardsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "hardshrink": lambda x: torch.where(x.abs() > 0.5, x, 0 * x),
    "softshrink": lambda x: x.sign() * (x.abs() - 0.5).clamp(min=0),
    "tanhshrink": lambda x: x - x.tanh(),
    "softsign": lambda x: x / (1 + x.abs()),
    "softplus": lambda x: (1 + x.exp()).log(),
    "logsigmoid": lambda x: -(1 + (-x).exp()).log(),
    "rrelu": lambda x: torch.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2),
}


def rows(settings):
    """What lies in the row of layers of a network, with the factors of widths: the program's rule."""
    structure = settings.get("layer_structure", [1, 2, 1])
    activation, last = settings.get("activation_func"), len(structure) - 2
    dropout = settings.get("dropout_structure")
    if dropout is None and settings.get("use_dropout"):
        tail = 0.3 if settings.get("last_layer_dropout") else 0
        dropout = [0, *([0.3] * (len(structure) - 3)), tail, 0]
    found = []
    for i in range(last + 1):
        found.append(("linear", structure[i], structure[i + 1]))
        if activation not in (None, "linear") and (i < last or settings.get("activate_output", True)):
            found.append(("activation",))
        if settings.get("is_layer_norm"):
            found.append(("norm", structure[i + 1]))
        if dropout is not None and dropout[i + 1]:
            found.append(("dropout",))
    return found


def network(width, settings, rng):
    """The state of one network, {"linear.0.weight": ...}."""
    state = {}
    for number, (kind, *sizes) in enumerate(rows(settings)):
        if kind == "linear":
            before, after = (int(width * size) for size in sizes)
            state[f"linear.{number}.weight"] = torch.randn(after, before, generator=rng) / before**0.5
            state[f"linear.{number}.bias"] = 0.3 * torch.randn(after, generator=rng)
        elif kind == "norm":
            size = int(width * sizes[0])
            state[f"linear.{number}.weight"] = 1 + 0.3 * torch.randn(size, generator=rng)
            state[f"linear.{number}.bias"] = 0.3 * torch.randn(size, generator=rng)
        elif kind == "activation" and settings["activation_func"] == "prelu":
            state[f"linear.{number}.weight"] = torch.tensor([0.3])
    return state


def hypernetwork(widths, settings=None, seed=0):
    """The contents of a .pt file."""
    settings, rng = settings or {}, torch.Generator().manual_seed(seed)
    pairs = {width: (network(width, settings, rng), network(width, settings, rng)) for width in widths}
    return {**pairs, "step": 100, "name": "oil", "sd_checkpoint": None, **settings}


def answered(states, state, settings):
    """What a network adds to states (..., width) at a strength of 1."""
    x = states
    for number, (kind, *_) in enumerate(rows(settings)):
        weight, bias = state.get(f"linear.{number}.weight"), state.get(f"linear.{number}.bias")
        if kind == "linear":
            x = x @ weight.to(x).T + bias.to(x)
        elif kind == "activation" and weight is not None:
            x = torch.where(x > 0, x, x * weight.to(x))
        elif kind == "activation":
            x = APPLIED[settings["activation_func"]](x)
        elif kind == "norm":
            mean, spread = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
            x = (x - mean) / (spread + 1e-5).sqrt() * weight.to(x) + bias.to(x)
    return x


class NaiveAttention(nn.Module):
    """A processor for diffusers' layers: hypernetworks one after the other, then attention in the plainest way."""

    def __init__(self, stack):
        super().__init__()
        self.stack = stack  # (contents of a file, its settings, strength)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        said = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        for_keys = for_values = said
        for held, settings, strength in self.stack:
            if said.shape[2] in held:
                for_keys = for_keys + strength * answered(for_keys, held[said.shape[2]][0], settings)
                for_values = for_values + strength * answered(for_values, held[said.shape[2]][1], settings)
        query, key, value = attn.to_q(hidden_states), attn.to_k(for_keys), attn.to_v(for_values)
        query, key, value = (attn.head_to_batch_dim(t) for t in (query, key, value))
        scores = F.softmax(query @ key.transpose(1, 2) * attn.scale, -1)
        return attn.to_out[0](attn.batch_to_head_dim(scores @ value))
