"""Pure functions of tensors, shared by every room above."""
