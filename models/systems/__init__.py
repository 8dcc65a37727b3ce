"""The other systems of the paper's tables: dense models, expression variants, SPADE decoders, Neural Talking Heads."""
