"""The operators' commands behind `scripts/`: arguments in, messages and an exit status out."""
