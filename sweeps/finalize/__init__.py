"""The end of a sweep: sampled answers, the choice, the final split, the exported winner."""
