"""A mail server that keeps what it takes: aiosmtpd, with TLS and a password where they are asked for.

usage: smtp_server.py FOLDER plain|starttls|tls [CERTIFICATE KEY USER PASSWORD]

Prints its port. Each mail is a file of FOLDER: N.eml with what came, and in front of it X-Peer-* lines of how it came.
While FOLDER/refuse exists it answers "451 not now" to each mail; while FOLDER/forbid exists, "550 never".
"""

import asyncio
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

folder, security, *more = sys.argv[1:]


class Handler:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        if os.path.exists(os.path.join(folder, "refuse")):
            return "451 4.3.0 not now"
        if os.path.exists(os.path.join(folder, "forbid")):
            return "550 5.7.1 never"
        Handler.count += 1
        draft = os.path.join(folder, "draft")
        with open(draft, "wb") as file:
            file.write(f"X-Peer-From: {envelope.mail_from}\r\n".encode())
            file.write(f"X-Peer-To: {','.join(envelope.rcpt_tos)}\r\n".encode())
            file.write(f"X-Peer-Tls: {session.ssl is not None or security == 'tls'}\r\n".encode())
            file.write(f"X-Peer-Authenticated: {session.authenticated}\r\n".encode())
            file.write(envelope.original_content)
        os.rename(draft, os.path.join(folder, f"{Handler.count}.eml"))
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == tuple(text.encode() for text in more[2:4])
    return AuthResult(success=good, handled=good)


async def main():
    context = None
    if more:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(more[0], more[1])

    def protocol():
        starttls = context if security == "starttls" else None
        return SMTP(
            Handler(),
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=authenticate,
            auth_required=len(more) > 2,
            auth_require_tls=security == "starttls",
            enable_SMTPUTF8=True,
        )

    around = context if security == "tls" else None
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=around)
    print("listens at", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
