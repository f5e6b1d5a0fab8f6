"""The only place that knows an order of rooms."""
