"""The interactive writer: a person and a model write a text together, in a terminal."""
