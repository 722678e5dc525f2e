"""The engine: many streams through one burst graph, without a word of gRPC."""
