"""The red team: every attack in every field that an outsider can write, and an adversary in place of the model."""
