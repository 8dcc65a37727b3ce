"""Calls by link: the page and its server, and the Python peer that joins the same rooms over WebRTC."""
