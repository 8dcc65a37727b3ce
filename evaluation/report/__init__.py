"""The report of `fvc measure`: tables, plots, strips and videos from its results."""
