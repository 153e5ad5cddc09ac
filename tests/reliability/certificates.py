"""Authorities and certificates of a broker on the loopback, good ones and bad ones."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = x509.IPAddress(ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("broker.example")
YEAR = timedelta(days=365)


def called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """Signs certificates; its own stands in `file`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.file = folder, name, folder / f"{name}.pem"
        self.key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, self.key, x509.BasicConstraints(ca=True, path_length=0), YEAR)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, address: x509.GeneralName = LOOPBACK, until: timedelta = YEAR) -> Path:
        """A file with a key and its certificate for `address`, valid `until` so long from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, key, x509.SubjectAlternativeName([address]), until)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / f"{name}.pem"
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType, until: timedelta
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        building = (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - YEAR)
            .not_valid_after(now + until)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        return building.sign(self.key, hashes.SHA256())


def serving(certificate: Path) -> ssl.SSLContext:
    """TLS with this certificate; `load_cert_chain` of another changes it for new connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
