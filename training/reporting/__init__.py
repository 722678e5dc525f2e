"""Reports a training: status lines, run log, samples and the page of the run."""
