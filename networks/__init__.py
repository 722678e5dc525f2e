"""Networks and samplers, whole chunks and step by step. Needs torch."""
