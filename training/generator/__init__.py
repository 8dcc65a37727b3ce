"""The networks that draw: sampling, losses, loop. Needs torch, numpy, cv2, safetensors and tqdm only."""
