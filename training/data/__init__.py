"""From text to the chunks of token ids that training steps take."""
