"""One module per outside system, the nouns they speak (`records`) and the roles they play (`ports`)."""
