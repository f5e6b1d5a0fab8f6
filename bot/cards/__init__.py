"""What people see: CardState to Block Kit as pure functions, and the outbox, the one Slack sender."""
