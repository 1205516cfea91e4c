"""One module per question that a chart answers. Each function returns a `marks.Chart`, also when there is nothing to
draw: then it says why."""
