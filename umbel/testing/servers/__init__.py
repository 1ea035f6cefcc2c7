"""Real servers for a test run: private, on a free port of the loopback, gone afterwards."""

from __future__ import annotations

from umbel.testing.servers.ports import free_port
from umbel.testing.servers.process import ServerMissing, required
from umbel.testing.servers.rabbitmq import RabbitMQServer, rabbitmq_server
from umbel.testing.servers.redis import RedisServer, redis_server

__all__ = [
    "RabbitMQServer",
    "RedisServer",
    "ServerMissing",
    "free_port",
    "rabbitmq_server",
    "redis_server",
    "required",
]
