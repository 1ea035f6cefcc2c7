"""Signed messages: the ``auth`` serializer, on X.509 certificates.

Needs the extra ``umbel[auth]``. Applications turn it on with ``app.setup_security()``.
"""
