"""Writes a temporary CA and a server certificate for this machine as PEM files, made by trustme."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """PEM files: `ca` for clients, `chain` and `key` (mode 0600) for the server."""

    ca: Path
    chain: Path
    key: Path


def write_certificate(folder: Path) -> Certificate:
    """Write a new CA, and its certificate for localhost and 127.0.0.1, to `folder`."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    files = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority.cert_pem.write_to_path(str(files.ca))
    files.chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    # PostgreSQL's clients and servers refuse keys that others may read.
    files.key.touch(mode=0o600)
    files.key.write_bytes(server.private_key_pem.bytes())
    return files
