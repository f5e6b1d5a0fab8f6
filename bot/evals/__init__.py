"""Golden cases and measurements that `sitrep eval` runs."""
