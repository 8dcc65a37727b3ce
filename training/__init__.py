"""Data preparation, losses and the training loop. The loop needs torch, numpy, cv2, safetensors and tqdm only."""
