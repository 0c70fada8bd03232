"""What is trained, taken to where there is no PyTorch."""
