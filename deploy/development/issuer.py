"""The keys of a docker-compose stack on one's own machine: its token issuer's, and those that seal personal data.

Production names a real OpenID provider instead, and brings sealing keys of its own.

python deploy/development/issuer.py create
python deploy/development/issuer.py token operator
python deploy/development/issuer.py token accountant shop
"""

import os
import sys
from pathlib import Path

from libs.common.auth import ROLES, DevIssuer, create_dev_issuer
from libs.common.sealing import add_sealing_key

KEYS = Path("/keys")
USAGE = 64


def main(arguments: list[str]) -> int:
    """`create` makes the keys that are not there; `token ROLE [ORGANIZATION]` prints a bare token of an hour."""
    folder = Path(os.environ.get("LEDGERBUS_DEV_KEYS", KEYS))
    private, jwks = folder / "issuer.pem", folder / "jwks.json"
    match arguments:
        case ["create"]:
            create_dev_issuer(private, jwks)
            if not (sealing := folder / "invoicing-sealing.keys").exists():
                add_sealing_key(sealing)
        case ["token", role, *organization] if role in ROLES and len(organization) <= 1:
            issuer = DevIssuer(
                private,
                os.environ["LEDGERBUS_JWT_ISSUER"],
                os.environ["LEDGERBUS_JWT_AUDIENCE"],
                os.environ["ENVIRONMENT"],
            )
            sys.stdout.write(issuer.token("developer", organization[0] if organization else None, [role]) + "\n")
        case _:
            sys.stderr.write(f"usage: issuer.py create | token ROLE [ORGANIZATION]; roles: {', '.join(ROLES)}\n")
            return USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
