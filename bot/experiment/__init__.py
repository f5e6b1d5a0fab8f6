"""Arms, assignment by unit, exposure, outcomes, estimators, cutlines."""
