"""What surrounds training: identity, checkpoints, the record, averaging, saving, loggers, progress."""
