"""A step of a recurrent network written a second time, in numpy, in float32 or in int8.

It is what graphs in int8 are held to; those in float32 are held to torch as well.
"""

import numpy as np

F32 = np.float32


def encode(h):
    """float32 within -1 and 1 to the nearest bytes around 128; halves go to the even one."""
    return (np.rint(np.asarray(h, F32) / F32(1 / 127)) + 128).astype(np.uint8)


def quantize(weight):
    """A weight [I, O] as int8 and the scale of each column [O]."""
    largest = np.abs(weight).max(0)
    scale = np.where(largest > 0, largest / F32(127), F32(1)).astype(F32)
    return np.rint(weight / scale).astype(np.int8), scale


def byte_product(rows, integers, scale):
    """Bytes [B, I] times int8 [I, O], scaled: float32 [B, O]."""
    sums = (rows.astype(np.int64) - 128) @ integers.astype(np.int64)
    return sums.astype(F32) * (scale * F32(1 / 127))


def sigmoid(x):
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(F32)


def tanh(x):
    return np.tanh(x.astype(np.float64)).astype(F32)


class NumpyStep:
    """From tokens [B] and a state, a list of [B, H], to scores [B, V] and the next state."""

    def __init__(self, model, precision):
        self.cell, self.layers, self.size = model.config.cell, model.config.layers, model.config.cells
        self.in_bytes = precision == "int8"
        self.weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}

    def fresh(self, rows):
        """The state of fresh streams."""
        zeros = np.zeros((rows, self.size), F32)
        h = encode(zeros) if self.in_bytes and self.cell != "gru" else zeros
        return [h, zeros] * self.layers if self.cell == "lstm" else [h] * self.layers

    def encoded(self, h):
        return encode(h) if self.in_bytes else h

    def product(self, rows, weight):
        return byte_product(rows, *quantize(weight)) if self.in_bytes else rows @ weight

    def layer(self, index):
        names = (f"recurrent.{kind}_l{index}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        inputs, hidden, input_bias, hidden_bias = (self.weights[name] for name in names)
        return inputs.T, hidden.T, input_bias, hidden_bias

    def looked_up(self, tokens, weight):
        embedding = self.weights.get("embedding.weight")
        return (weight if embedding is None else embedding @ weight)[tokens]

    def __call__(self, tokens, state):
        x, rest, following = tokens, list(state), []
        for index in range(self.layers):
            h, *c = [rest.pop(0) for _ in range(2 if self.cell == "lstm" else 1)]
            run = self.gru if self.cell == "gru" else self.summed
            x, new = run(index, x, h, *c)
            following += new
        scores = self.product(x, self.weights["output.weight"].T) + self.weights["output.bias"]
        return scores, following

    def summed(self, index, x, h, c=None):
        """LSTM and plain cells, in which the sums of both inputs add up."""
        inputs, hidden, input_bias, hidden_bias = self.layer(index)
        if index == 0:
            sums = self.product(h, hidden) + (self.looked_up(x, inputs) + input_bias + hidden_bias)
        else:
            joined = self.product(np.concatenate([x, h], 1), np.concatenate([inputs, hidden]))
            sums = joined + (input_bias + hidden_bias)
        if c is None:
            h = self.encoded(tanh(sums))
            return h, [h]
        i, f, g, o = np.split(sums, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = self.encoded(sigmoid(o) * tanh(c))
        return h, [h, c]

    def gru(self, index, x, h):
        inputs, hidden, input_bias, hidden_bias = self.layer(index)
        below = self.looked_up(x, inputs) if index == 0 else self.product(x, inputs)
        below, recurrent = below + input_bias, self.product(self.encoded(h), hidden) + hidden_bias
        (r0, z0, n0), (r1, z1, n1) = np.split(below, 3, 1), np.split(recurrent, 3, 1)
        r, z = sigmoid(r0 + r1), sigmoid(z0 + z1)
        n = tanh(n0 + r * n1)
        h = n + z * (h - n)
        return self.encoded(h), [h]
