"""Who may see it and what may be trusted: principals, audience, directory, redaction, neutralising."""
