"""What changes along a training: saved checkpoints, drift from the untrained model, and courses of quality."""
