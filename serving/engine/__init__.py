"""The engine: runs many streams through the burst graphs of a model. It does not depend on gRPC."""
