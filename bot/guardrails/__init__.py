"""Policy checks, audit trail, change-risk review for CI."""
