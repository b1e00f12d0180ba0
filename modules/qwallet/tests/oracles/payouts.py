"""Writes a payout file with an independent program.

Usage: payouts.py PROGRAM VERSION DEBTOR CURRENCY, with one "creditor<TAB>amount in cents" per line on stdin.
PROGRAM is sepaxml (VERSION 03 or 09).
"""

import datetime
import sys

from sepaxml import SepaTransfer

_, program, version, debtor, currency = sys.argv
assert program == "sepaxml", program
config = {
    "name": "Payroll Office",
    "IBAN": debtor,
    "BIC": "BANKNL2A",
    "batch": True,
    "currency": currency,
}
transfer = SepaTransfer(config, schema=f"pain.001.001.{version}", clean=True)
day = datetime.date(2026, 11, 23)
for number, line in enumerate(sys.stdin, start=1):
    creditor, cents = line.split("\t")
    transfer.add_payment(
        {
            "name": f"Employee {number}",
            "IBAN": creditor,
            "BIC": "BANKNL2A",
            "amount": int(cents),
            "execution_date": day,
            "description": f"wages {number}",
            "endtoend_id": f"E{number}",
        }
    )
sys.stdout.buffer.write(transfer.export(validate=True))
