"""Calls without sockets: datagrams, RTP, set-up, playout, and the sessions of both ends."""
