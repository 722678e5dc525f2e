"""The gRPC face of the engine: proto types stop here."""
