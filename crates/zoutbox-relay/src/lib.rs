//! Publishes what writers appended to a share, in order, to RabbitMQ.
