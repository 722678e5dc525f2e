"""The recurrent network: embedding, stacked LSTM, GRU or tanh layers, and a linear output."""
