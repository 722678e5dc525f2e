"""The matrix products of a model alone, by the fastest of several variants: the bound of its speed."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.sessions import inline, open_session
from charloom.burst import Array, Feeds, TensorSpec
from charloom.execution_class import Precision
from charloom.processor import available_cores
from export.graph import GraphBuilder, Initializers, graph_input
from export.step import PRECISIONS

REPEATS = 8
"""Steps whose products one call computes, so that the call itself does not count."""

Shape = tuple[int, int]


def products_graph(shapes: Sequence[Shape], precision: Precision) -> bytes:
    """Takes rows [B, I] of each shape in turn, REPEATS times over, and gives [B, O] of each."""
    products = PRECISIONS[precision]()
    random = np.random.default_rng(0)
    made = [
        products.add(f"w{i}", random.standard_normal(shape, np.float32), np.zeros(shape[1], np.float32))
        for i, shape in enumerate(shapes)
    ]
    op = GraphBuilder(Initializers(inline(products.weights)))
    turns = list(zip(shapes, made, strict=True)) * REPEATS
    takes = [TensorSpec(f"x{i}", products.dtype, ("B", shape[0])) for i, (shape, _) in enumerate(turns)]
    gives = [TensorSpec(f"y{i}", "float32", ("B", shape[1])) for i, (shape, _) in enumerate(turns)]
    rows = [graph_input(spec) for spec in takes]
    outputs = [product(op, x) for (_, product), x in zip(turns, rows, strict=True)]
    return op.serialize(rows, outputs, gives)


class ProductVariants:
    """The products of one step, for any number of rows."""

    def __init__(self, shapes: Sequence[Shape], precision: Precision) -> None:
        self.shapes = shapes
        self.precision = precision
        graph = products_graph(shapes, precision)
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
