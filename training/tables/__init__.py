"""Fits the codec's prior knowledge of faces: priors, the basis of landmarks, the influence of errors."""
