"""Other directories of groups (`GroupSource`): who is in which team elsewhere, by verified e-mail."""
