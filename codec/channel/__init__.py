"""Calls over data channels: messages, congestion control, and the session of one side. No sockets, no clocks."""
