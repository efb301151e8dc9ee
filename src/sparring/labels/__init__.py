"""Step labels from rollouts: code here may ask engines, judge answers and write its journal; it trains nothing."""
