"""Records: texts that begin and end, such as titles, names, log lines or rows of a table."""
