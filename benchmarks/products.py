"""The matrix products of a model alone, by the fastest of several variants: the bound of its speed."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.onnx_module import export_module, open_session
from charloom.bundle import Precision
from charloom.burst import Array, Feeds
from charloom.processor import available_cores
from export.main import NUMBERS

REPEATS = 8
"""Steps whose products one call computes, so that the call itself does not count."""

Shape = tuple[int, int]


class ProductsModule(nn.Module):
    """One product for each shape and repeat, each of rows of its own."""

    def __init__(self, shapes: Sequence[Shape], precision: Precision) -> None:
        super().__init__()
        numbers = NUMBERS[precision]()
        weights = [torch.randn(shape) / shape[0] ** 0.5 for shape in shapes]
        products = [numbers.product(weight, torch.zeros(weight.shape[1])) for weight in weights]
        self.products = nn.ModuleList(product for product in products if isinstance(product, nn.Module))

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Rows [B, I] of each shape in turn, REPEATS times over; gives [B, O] of each."""
        return tuple(self.products[i % len(self.products)](x) for i, x in enumerate(rows))


class Products:
    """The products of one step, for any number of rows."""

    def __init__(self, shapes: Sequence[Shape], precision: Precision) -> None:
        self.shapes = shapes
        self.precision = precision
        module = ProductsModule(shapes, precision)
        graph = export_module(module, list(self.rows(2).values()), list(self.rows(2)))
        self.together = open_session(graph, available_cores())
        self.alone = open_session(graph, 1)
        self.pool = ThreadPoolExecutor(available_cores())
        self.weights = [np.random.default_rng(0).random(shape, np.float32) for shape in shapes]

    def rows(self, batch: int) -> Feeds:
        """Random rows for every product."""
        random = np.random.default_rng(0)
        floats = [random.uniform(-1, 1, (batch, inputs)) for _ in range(REPEATS) for inputs, _ in self.shapes]
        if self.precision == "int8":
            return {f"x{i}": (x * 127 + 128).astype(np.uint8) for i, x in enumerate(floats)}
        return {f"x{i}": x.astype(np.float32) for i, x in enumerate(floats)}

    def variants(self, batch: int) -> dict[str, Callable[[], int]]:
        """Functions by name that compute the products and give the number of tokens."""
        rows = self.rows(batch)
        shards = self.cut(rows, min(batch, available_cores()))
        tokens = batch * REPEATS

        def together() -> int:
            self.together.run(None, rows)
            return tokens

        def in_shards() -> int:
            for future in [self.pool.submit(self.alone.run, None, shard) for shard in shards]:
                future.result()
            return tokens

        def by_numpy() -> int:
            for x, weight in zip(rows.values(), self.weights * REPEATS, strict=True):
                _ = x @ weight
            return tokens

        variants: dict[str, Callable[[], int]] = {"together": together, "in shards": in_shards}
        return variants | {"by numpy": by_numpy} if self.precision == "float32" else variants

    def cut(self, rows: Feeds, count: int) -> list[dict[str, Array]]:
        """The rows in so many parts."""
        parts = {name: np.array_split(array, count) for name, array in rows.items()}
        return [{name: of_all[i] for name, of_all in parts.items()} for i in range(count)]
