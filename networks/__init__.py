"""Networks and samplers: whole chunks for training, and step by step. Needs torch."""
