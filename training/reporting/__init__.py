"""What a training tells people: progress, records, samples and the report's page."""
