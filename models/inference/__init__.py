"""Networks at work, without torch: the shipped graphs on a CPU through OpenVINO, for senders and receivers."""
