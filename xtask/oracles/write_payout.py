"""Writes a pain.001 payout file with the independent library sepaxml, and says what it ordered.

Input, as JSON on standard input: payer and recipients with name and account, number of payments, currency code, date.
Output: the file at the given path; on standard output, as JSON, the sum for each account in decimal text, computed here
from the integers that went into the file and not from anything Q answers.
"""

import datetime
import json
import sys
from decimal import Decimal

from sepaxml import SepaTransfer

order = json.load(sys.stdin)
transfer = SepaTransfer(
    {
        "name": order["payer"]["name"],
        "IBAN": order["payer"]["account"],
        "batch": True,
        "currency": order["currency"],
    },
    schema=order["schema"],
    clean=True,
)
execution_date = datetime.date.fromisoformat(order["date"])
sums = {}
for number in range(order["count"]):
    recipient = order["recipients"][number % len(order["recipients"])]
    # From 0.01 to 9.97, coprime steps so that hardly two neighbours are equal.
    cents = 1 + number * 337 % 997
    transfer.add_payment(
        {
            "name": recipient["name"],
            "IBAN": recipient["account"],
            "amount": cents,
            "execution_date": execution_date,
            "description": f"payout {number + 1}",
            "endtoend_id": f"PAYOUT-{number + 1:06}",
        }
    )
    sums[recipient["account"]] = sums.get(recipient["account"], 0) + cents

with open(sys.argv[1], "wb") as file:
    # Validated against the XML schema that the library carries.
    file.write(transfer.export(validate=True))
json.dump({account: str(Decimal(cents) / 100) for account, cents in sums.items()}, sys.stdout)
