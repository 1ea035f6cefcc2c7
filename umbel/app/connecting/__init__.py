"""Clients of brokers and backends, and how synchronous code reaches them."""
