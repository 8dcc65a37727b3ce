"""Export to other runtimes (Core ML, ONNX): planned, see CHANGELOG.md."""
