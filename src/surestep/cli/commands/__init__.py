"""The subcommands, a module each, imported only when called."""
