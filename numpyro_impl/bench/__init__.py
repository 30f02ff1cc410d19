"""What the benchmark times in this framework: our ways, the stock recipes, code written by hand."""
