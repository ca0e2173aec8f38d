"""What a conclusion rests on: refits, weights, tipping points, attribution."""
