"""Files of predictions, whoever wrote them: their layouts, told apart by their columns."""
