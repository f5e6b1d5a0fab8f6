"""The rooms of a triage, one file each: collect, permit, redact, rank, publish, compose, infer, check, record."""
