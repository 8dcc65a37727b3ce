"""What the codec knows of faces beforehand: priors, the basis of landmarks, the influence of errors."""
