"""RabbitMQ (AMQP 0-9-1), in Celery's topology."""
