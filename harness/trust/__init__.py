"""Whether reward models can be trusted: cards of what they get right, and the proof that what judges was held out."""
