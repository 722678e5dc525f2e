"""From a text to a checkpoint. Needs torch; knows neither graphs nor servers."""
