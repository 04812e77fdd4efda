"""The shared road: rows, trainers by family, checkpoints. Algorithms differ in their loss and knobs alone."""
