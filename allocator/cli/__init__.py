"""The command line: one small module for each subcommand, and what they share."""
