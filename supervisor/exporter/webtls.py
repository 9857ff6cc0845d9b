"""A TLS policy as what connections are served with; behind walls that let no file be opened but one in memory.

That one can be made is also the proof that certificate, key and authorities are what they should be.
Sources: ssl (Python), memfd_create(2).
"""

from __future__ import annotations

import functools
import os
import re
import ssl

from supervisor.exporter.webpolicy import TlsPolicy


def to_context(tls: TlsPolicy) -> ssl.SSLContext:
    """Make what connections are served with. Raises ValueError with words for the operator."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = file_in_memory()
    try:
        context.minimum_version = ssl.TLSVersion[tls.version_min]
        context.maximum_version = ssl.TLSVersion[tls.version_max]
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
        if not tls.own_preference:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if tls.client_ca:
            context.load_verify_locations(cadata=tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if tls.client_required else ssl.CERT_OPTIONAL
        os.pwrite(file, (_blocks("PRIVATE KEY", tls.key) + _blocks("CERTIFICATE", tls.certificate)).encode(), 0)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ValueError(_what_does_not_fit(error, tls)) from error
    finally:
        os.ftruncate(file, 0)
    return context


@functools.cache
def file_in_memory() -> int:
    """Return the descriptor of the one file that holds the key, for a moment; OpenSSL reads files only. Made before the walls go up."""
    return os.memfd_create("server certificate")


def _blocks(what: str, text: str) -> str:
    """Return the blocks of one kind in a PEM text: cert_file and key_file may both be one file that holds both."""
    found = re.finditer(rf"-----BEGIN ([A-Z ]*{what})-----.*?-----END \1-----", text, re.DOTALL)
    return "".join(f"{block[0]}\n" for block in found)


def _no_password() -> str:
    raise ValueError("the key needs a password; the file must hold it in the clear")


def _what_does_not_fit(error: Exception, tls: TlsPolicy) -> str:
    words = str(error)
    if "MISMATCH" in words.upper():
        return "the key is not the certificate's"
    if not _blocks("CERTIFICATE", tls.certificate):
        return "cert holds no PEM certificate"
    if not _blocks("PRIVATE KEY", tls.key):
        return "key holds no PEM key"
    if tls.client_ca and "-----BEGIN" not in tls.client_ca:
        return "client_ca holds no PEM certificate"
    return words
