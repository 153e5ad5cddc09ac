"""How to connect to a secured Kafka, in the words of each client library."""

from __future__ import annotations

import ssl
from typing import Any

from faust import SASLCredentials, SSLCredentials

from streams.settings import Settings


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    if "ssl" not in settings.kafka_security:
        return None
    return ssl.create_default_context(cafile=str(settings.kafka_ca) if settings.kafka_ca else None)


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """For aiokafka's and kafka-python's clients; empty for a plain connection."""
    if settings.kafka_security == "plaintext":
        return {}
    options: dict[str, Any] = {"security_protocol": settings.kafka_security.upper()}
    context = ssl_context(settings)
    if context is not None:
        options["ssl_context"] = context
    if settings.kafka_security.startswith("sasl") and settings.kafka_password is not None:
        options |= {
            "sasl_mechanism": settings.kafka_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


def faust_credentials(settings: Settings) -> SASLCredentials | SSLCredentials | None:
    """For Faust's consumer."""
    context = ssl_context(settings)
    if settings.kafka_security.startswith("sasl") and settings.kafka_password is not None:
        return SASLCredentials(
            username=settings.kafka_user,
            password=settings.kafka_password.get_secret_value(),
            mechanism=settings.kafka_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context=context)
