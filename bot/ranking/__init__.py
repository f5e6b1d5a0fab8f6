"""Which service and which change: the engine behind the room `rank`."""
