"""The burst written a second time, plainly: one row and one step at a time, in float64."""

import copy

import numpy as np
import torch

PER_STEP = ("forced", "uniform", "temperature")
MARGIN = 1e-4
"""How far, in probability, the random numbers are kept from where a choice changes."""


def burst(model, feeds):
    """Runs a burst of the full graph's inputs on a trained model.

    Where a random number lies so near to the edge of a choice that rounding decides, it is moved,
    in `feeds` itself. Gives the outputs by name, [K, B] or [B, H], and `mass` [K, B, V], the
    probabilities that the choice was made from.
    """
    model = copy.deepcopy(model).double()
    rows = [run_row(model, feeds, row) for row in range(len(feeds["last"]))]
    axis = {name: 0 for name in rows[0] if name.startswith(("h_", "c_"))}
    return {name: np.stack([row[name] for row in rows], axis.get(name, 1)) for name in rows[0]}


def run_row(model, feeds, row):
    """Runs one row of a burst."""
    given = {n: array[:, row] if n in PER_STEP else array[row] for n, array in feeds.items()}
    state = [given[spec.name] for spec in model.state_specs]
    last, recent = int(given["last"]), list(given["recent"])
    out = {name: [] for name in ("chosen", "logprob", "mass")}
    for index in range(len(given["uniform"])):
        scores, following = run_model(model, last, state)
        mass = probabilities(adjust(scores, given, recent, index), given["temperature"][index])
        limits = (given[name] for name in ("top_k", "min_p", "typical_p", "top_p"))
        mass = keep_likeliest(mass, *limits)
        if index < given["steps"]:
            state = following
            if index < given["forced_len"]:
                last = int(given["forced"][index])
            else:
                last = draw(mass, given["uniform"], index)
            recent.append(last)
        out["chosen"].append(last)
        known = min(last, len(scores) - 1)
        out["logprob"].append(scores[known] - np.log(np.exp(scores).sum()))
        out["mass"].append(mass)
    states = {spec.output: part for spec, part in zip(model.state_specs, state, strict=True)}
    return {name: np.array(values) for name, values in out.items()} | states


@torch.inference_mode()
def run_model(model, token, state):
    """Feeds one token to the trained model: scores [V] and the next state, each tensor [H]."""
    tensors = tuple(torch.from_numpy(np.float64(part))[None] for part in state)  # [1, H]
    scores, following = model(torch.tensor([[token]]), tensors)
    return scores[0, 0].numpy(), [part[0].numpy() for part in following]


def adjust(scores, given, recent, index):
    """Biases, penalties, and the tokens that are not allowed."""
    scores = scores.copy()
    generated = given["position"] + index - given["generation_start"]
    for token, value, until in zip(
        given["bias_token"], given["bias_value"], given["bias_until"], strict=True
    ):
        if generated < until:
            scores[token] += value
    window = recent[max(0, len(recent) - int(given["window"])) :]
    # The graph remembers no more than its ring holds.
    window = [int(token) for token in window[-len(given["recent"]) :] if token >= 0]
    for token in set(window):
        ratio = given["repetition_penalty"]
        scores[token] = scores[token] / ratio if scores[token] > 0 else scores[token] * ratio
        scores[token] -= window.count(token) * given["frequency_penalty"] + given["presence_penalty"]
    scores[~given["allowed"]] = -np.inf
    return scores


def probabilities(scores, temperature):
    """Softmax at a temperature; at 0, all of it on the likeliest token, the first of equals."""
    if temperature == 0:
        return np.float64(np.arange(len(scores)) == scores.argmax())
    mass = np.exp((scores - scores.max()) / temperature)
    return mass / mass.sum()


def keep_likeliest(mass, top_k, min_p, typical_p, top_p):
    """Top-k, min-p, typical and top-p, each of what the former left."""
    kept = np.argsort(-mass, kind="stable")
    kept = kept[mass[kept] > 0]
    if top_k:
        kept = kept[:top_k]
    kept = kept[mass[kept] >= min_p * mass.max()]
    p = mass[kept] / mass[kept].sum()
    entropy = -(p * np.log(p)).sum()
    typical = fewest(kept[np.argsort(np.abs(entropy + np.log(p)), kind="stable")], mass, typical_p)
    nucleus = fewest(kept[np.isin(kept, typical)], mass, top_p)
    return np.where(np.isin(np.arange(len(mass)), nucleus), mass, 0)


def fewest(tokens, mass, share):
    """The first of the ranked tokens that together hold this share of their mass."""
    if share >= 1:
        return tokens
    held = mass[tokens].cumsum()
    return tokens[: int((held < share * held[-1]).sum()) + 1]


def draw(mass, uniform, index):
    """The first token whose cumulative probability exceeds u of the total."""
    edges = np.concatenate([[0], mass.cumsum()]) / mass.sum()
    token = int((edges[1:] <= uniform[index]).sum())
    if np.abs(edges[token : token + 2] - uniform[index]).min() < MARGIN:
        token = int(mass.argmax())
        uniform[index] = edges[token : token + 2].mean()
    return token
