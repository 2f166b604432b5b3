"""Commands that promise something of new problems, and watch whether it still can be."""
