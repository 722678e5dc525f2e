"""Choosing the next token, as ONNX: the functions of `networks/sampler.py` under their names.

What each function does, and where the method comes from, stands there; tests and every export hold the
two to each other.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from export.graph import GraphBuilder, Value
from networks.sampler import BLOCK, GREEDY

END = np.iinfo(np.int64).max
"""The end of an axis, for Slice."""

SORTED = 1024
"""Tokens of a vocabulary up to which all are sorted where some are: it takes no time yet."""
HALVINGS = 9
"""How often the range of keys is halved in which the last token that is kept is sought: likely tokens lie
within about 15 nats, and the last range is a thirtieth of a nat."""

Mean = Callable[[GraphBuilder, Value, Value], Value]
"""From two keys [B, 1] to one that lies between them."""


def inverse(op: GraphBuilder, temperature: Value) -> Value:
    """1 / temperature, bounded, of any shape."""
    return op.Clip(op.Reciprocal(op.Abs(temperature)), None, GREEDY)


def settle(op: GraphBuilder, uniform: Value, inverse_temperature: Value) -> Value:
    """The random numbers, those of greedy rows set to 0."""
    return op.Where(op.Equal(inverse_temperature, GREEDY), 0.0, uniform)


def logits(op: GraphBuilder, scores: Value, inverse_temperature: Value) -> Value:
    """Scores [B, V] at each row's temperature [B, 1]."""
    return op.Mul(scores, inverse_temperature)


def probabilities(op: GraphBuilder, scores: Value, inverse_temperature: Value) -> Value:
    """Softmax of scores [B, V] at each row's temperature [B, 1]."""
    return op.Softmax(logits(op, scores, inverse_temperature), axis=-1)


def exclude(op: GraphBuilder, scores: Value, token: int, tokens: int) -> Value:
    """Scores [B, V] with that of a token that is never sampled at minus infinity; `tokens` is V."""
    excluded = np.zeros(tokens, np.float32)
    excluded[token] = -np.inf
    return op.Add(scores, op.constant(excluded))


def draw(op: GraphBuilder, mass: Value, uniform: Value, tokens: int) -> Value:
    """From mass [B, V] and uniform [B, 1] the drawn tokens, int64 [B]; `tokens` is V."""
    if tokens > BLOCK:
        return draw_in_blocks(op, mass, uniform, tokens)
    cumulative = running_sum(op, mass)
    return count(op, op.LessOrEqual(cumulative, op.Mul(uniform, last_column(op, cumulative))))


def draw_in_blocks(op: GraphBuilder, mass: Value, uniform: Value, tokens: int) -> Value:
    """The same in two steps: the block in which the token lies, then its place in there."""
    blocks = -(-tokens // BLOCK)
    padded = op.Pad(mass, [0, 0, 0, -tokens % BLOCK]) if tokens % BLOCK else mass
    blocked = op.Reshape(padded, [-1, blocks, BLOCK])
    cumulative = running_sum(op, op.ReduceSum(blocked, [-1], keepdims=0))  # [B, blocks]
    target = op.Mul(uniform, last_column(op, cumulative))
    passed = op.LessOrEqual(cumulative, target)
    block = count(op, passed)
    rest = op.Sub(target, op.ReduceMax(op.Where(passed, cumulative, 0.0), [-1], keepdims=1))
    chosen = op.GatherND(blocked, op.Unsqueeze(block, [-1]), batch_dims=1)  # [B, BLOCK]
    inner = running_sum(op, chosen)
    place = op.Min(count(op, op.LessOrEqual(inner, rest)), count(op, op.Less(inner, last_column(op, inner))))
    return op.Add(op.Mul(block, BLOCK), place)


def count(op: GraphBuilder, holds: Value) -> Value:
    """How many of each row [B, N] hold: int64 [B]."""
    total = op.ReduceSum(op.Cast(holds, to=ir.DataType.FLOAT), [-1], keepdims=0)
    return op.Cast(total, to=ir.DataType.INT64)


def keep_top_k(op: GraphBuilder, mass: Value, k: Value, tokens: int) -> Value:
    """The k likeliest tokens of mass [B, V]; k int64 [B]."""
    k = op.Clip(k, None, tokens)
    ranked, _ = top(op, mass, op.ReduceMax(k, keepdims=0))
    return drop(op, mass, op.Less(mass, column(op, ranked, op.Sub(k, 1))))


def keep_min_p(op: GraphBuilder, mass: Value, share: Value) -> Value:
    """Tokens of at least this share [B] of the likeliest token's mass [B, V]."""
    highest = op.ReduceMax(mass, [-1], keepdims=1)
    return drop(op, mass, op.Less(mass, op.Mul(op.Unsqueeze(share, [1]), highest)))


def keep_typical(op: GraphBuilder, mass: Value, logits: Value, share: Value, tokens: int) -> Value:
    """The fewest typical tokens that hold this share [B] of the mass [B, V]."""
    possible = op.Greater(mass, 0.0)
    information = op.Neg(op.LogSoftmax(op.Where(possible, logits, -np.inf), axis=-1))
    p = op.Div(mass, op.ReduceSum(mass, [-1], keepdims=1))
    entropy = op.ReduceSum(op.Where(possible, op.Mul(p, information), 0.0), [-1], keepdims=1)
    key = op.Neg(op.Abs(op.Sub(information, entropy)))  # minus infinity where impossible
    if tokens <= SORTED:
        return keep_first(op, mass, key, share, possible)
    lowest = op.ReduceMin(op.Where(possible, key, 0.0), [-1], keepdims=1)
    return search_first(op, mass, key, share, op.Sub(lowest, 1.0), arithmetic_mean)


def keep_top_p(op: GraphBuilder, mass: Value, share: Value, tokens: int) -> Value:
    """The fewest likeliest tokens that hold this share [B] of the mass [B, V]."""
    dropped = op.Mul(op.Sub(1.0, share), op.ReduceSum(mass, [-1], keepdims=0))
    bound = op.Unsqueeze(op.Div(dropped, 2.0 * tokens), [1])
    if tokens <= SORTED:
        return keep_first(op, mass, mass, share, op.GreaterOrEqual(mass, bound))
    return search_first(op, mass, mass, share, bound, geometric_mean)


def keep_first(op: GraphBuilder, mass: Value, key: Value, share: Value, candidates: Value) -> Value:
    """The fewest tokens of highest key [B, V] that hold this share [B] of the mass."""
    last = last_key(op, mass, key, wanted_mass(op, mass, share), candidates)
    return drop(op, mass, op.Less(key, last))


def search_first(op: GraphBuilder, mass: Value, key: Value, share: Value, low: Value, mean: Mean) -> Value:
    """The same for a large vocabulary: sorting costs far more than adding up, so that only a few are sorted.

    All tokens that count have a key above `low` [B, 1]. The range of keys from there to the highest is halved
    again and again, so that the tokens above its upper end do not hold the share, and those above its lower
    end do: the last token that is kept lies within. How often that is done does not depend on the batch.
    """
    wanted = wanted_mass(op, mass, share)
    high = op.ReduceMax(key, [-1], keepdims=1)
    above = op.Mul(wanted, 0.0)
    for _ in range(HALVINGS):
        tried = mean(op, low, high)
        held = op.ReduceSum(keep(op, mass, op.Greater(key, tried)), [-1], keepdims=1)
        holds = op.GreaterOrEqual(held, wanted)
        low, high = op.Where(holds, tried, low), op.Where(holds, high, tried)
        above = op.Where(holds, above, held)
    within = op.And(op.Greater(key, low), op.LessOrEqual(key, high))
    last = last_key(op, mass, op.Where(within, key, -np.inf), op.Sub(wanted, above), within)
    return drop(op, mass, op.Less(key, last))


def wanted_mass(op: GraphBuilder, mass: Value, share: Value) -> Value:
    """This share [B] of the mass [B, V]: [B, 1]."""
    return op.Mul(op.Unsqueeze(share, [1]), op.ReduceSum(mass, [-1], keepdims=1))


def last_key(op: GraphBuilder, mass: Value, key: Value, wanted: Value, candidates: Value) -> Value:
    """The key of the last of the tokens of highest key [B, V] that are needed to hold a mass [B, 1]: [B, 1].

    None but the candidates, which have the highest keys, comes into question.
    """
    most = op.Clip(count(op, candidates), 1)
    ranked, order = top(op, key, op.ReduceMax(most, keepdims=0))
    held = running_sum(op, op.GatherElements(mass, order, axis=1))
    return column(op, ranked, op.Min(count(op, op.Less(held, wanted)), op.Sub(most, 1)))


def arithmetic_mean(op: GraphBuilder, low: Value, high: Value) -> Value:
    """Of keys that lie evenly."""
    return op.Mul(op.Add(low, high), 0.5)


def geometric_mean(op: GraphBuilder, low: Value, high: Value) -> Value:
    """Of keys that lie evenly by their logarithm, all above 0."""
    return op.Sqrt(op.Mul(low, high))


def drop(op: GraphBuilder, mass: Value, dropped: Value) -> Value:
    """Zero where dropped."""
    return keep(op, mass, op.Not(dropped))


def keep(op: GraphBuilder, mass: Value, kept: Value) -> Value:
    """Zero where not kept; a product is several times as fast as Where."""
    return op.Mul(mass, op.Cast(kept, to=ir.DataType.FLOAT))


def bias(op: GraphBuilder, scores: Value, token: Value, value: Value, active: Value) -> Value:
    """Adds value [B, N] to the scores [B, V] of token [B, N] where active [B, N]."""
    return op.ScatterElements(scores, token, op.Where(active, value, 0.0), axis=1, reduction="add")


def penalise(
    op: GraphBuilder,
    scores: Value,
    recent: Value,
    window: Value,
    repetition: Value,
    frequency: Value,
    presence: Value,
    *,
    tokens: int,
) -> Value:
    """Lowers the scores [B, V] of tokens among the newest `window` [B] of `recent` [B, W]."""
    slots = op.Squeeze(op.Shape(recent, start=1, end=2))
    newest = op.GreaterOrEqual(
        op.Unsqueeze(op.Range(0, slots, 1), [0]), op.Sub(slots, op.Unsqueeze(window, [1]))
    )
    known = op.And(op.GreaterOrEqual(recent, 0), op.Less(recent, tokens))
    token = op.Where(known, recent, 0)
    counted = op.Cast(op.And(known, newest), to=ir.DataType.FLOAT)
    nothing = op.Expand(0.0, op.Shape(scores))
    counts = op.ScatterElements(nothing, token, counted, axis=1, reduction="add")
    times = op.GatherElements(counts, token, axis=1)  # [B, W]
    score = op.GatherElements(scores, token, axis=1)
    ratio = op.Unsqueeze(repetition, [1])
    lower = op.Where(op.Greater(score, 0.0), op.Div(score, ratio), op.Mul(score, ratio))
    lower = op.Sub(lower, op.Mul(times, op.Unsqueeze(frequency, [1])))
    lower = op.Sub(lower, op.Unsqueeze(presence, [1]))
    return op.ScatterElements(scores, token, op.Where(op.Greater(times, 0.0), lower, score), axis=1)


def allow(op: GraphBuilder, scores: Value, allowed: Value) -> Value:
    """Rules out what allowed [B, V] does not hold."""
    return op.Where(allowed, scores, -np.inf)


def running_sum(op: GraphBuilder, values: Value) -> Value:
    """The cumulative sum of each row [B, N]."""
    return op.CumSum(values, -1)


def last_column(op: GraphBuilder, values: Value) -> Value:
    """The last of each row [B, N]: [B, 1]."""
    return op.Slice(values, [-1], [END], [1], [1])


def column(op: GraphBuilder, values: Value, place: Value) -> Value:
    """The element at each row's own place [B] of values [B, N]: [B, 1]."""
    return op.GatherElements(values, op.Unsqueeze(place, [1]), axis=1)


def top(op: GraphBuilder, values: Value, k: Value) -> tuple[Value, Value]:
    """The k highest of each row [B, N], k int64 []: their values and places, each [B, k]."""
    ranked, order = op.several("TopK", values, op.Reshape(k, [-1]), outputs=2, axis=-1)
    return ranked, order
