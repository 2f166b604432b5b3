"""From rows of one problem to one reasoning tree, and what makes two problems one."""
