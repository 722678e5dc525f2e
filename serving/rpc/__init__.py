"""The gRPC service over the engine; the only package that uses proto types."""
