"""Door: signed webhooks, health, metrics, incidents."""
