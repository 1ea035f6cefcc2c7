"""A worker among others: events, heartbeats, gossip, remote control."""
