"""Forecast of the known facts an edit will change: the index, the forecast, and the price in the write."""
