"""The commands that ask a model for something: generate, score, similar, evaluate."""
