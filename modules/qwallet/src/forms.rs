//! What each field of a request has to be, said to whoever wrote another.

/// The kinds of transactions by which a history is filtered.
const KINDS: &str = "payment, issuance, faucet, sweep, refund, escrow, release, charge, deposit, withdrawal, transfer or \
                     correction";

/// The declared form of a field; nothing where its name says it all.
pub fn form_of(field: &str) -> Option<&'static str> {
    let form = match field {
        "action" => "MINT or BURN",
        "approvals" => "at most eight signatures, each of another approver",
        "arbiter" => "an identity that is neither the payer nor the payee",
        "autoReleaseAt" => {
            "an instant still to come, at most a year ahead, such as 2027-01-31T12:00:00Z (RFC 3339)"
        }
        "class" => "p2p, merchant or module: that of the recipient where one is told, and p2p over a rail",
        "clientRef" | "items[].clientRef" | "orderRef" => {
            "1 to 35 characters, none of them a control character"
        }
        "capture" => "auto or manual",
        "catchUp" => "skip, once or all",
        "correction" => {
            "BOOK_WITHDRAWAL with wallet, amount, recipient and reference; ASSIGN with depositId and wallet; or WRITE_OFF with \
             depositId or amount; and nothing else"
        }
        "cid" => "the CID of a delegation, as its grant lists it",
        "count" => "from the number of stripes there are to 8: there are never fewer than before",
        "cursor" => "the nextCursor of the page before, as it was given",
        "entitlements" => {
            "at most 32 names with a dot, in lower case, each with a whole number below 2^53, such as qdrive.bytes: 100000000000"
        }
        "decision" => "APPROVE or REJECT",
        "eventTypes" => "names of events or patterns that end with *, such as q.qwallet.tx.*",
        "expiresAt" => {
            "an instant still to come, such as 2027-01-31T12:00:00Z (RFC 3339); that of a signed order at most a day ahead"
        }
        "expiresIn" => "seconds, from 60 to 86400",
        "format" => "json, csv, camt053, ofx, hledger, ledger or beancount",
        "from" => "an instant before `to` (RFC 3339)",
        "holdFor" => "seconds, from 60 to 2592000, and only with capture: \"manual\"",
        "holders" => "1 to 10000 identities, none of them twice",
        "into" => "payee or escrow",
        "label" | "q" => "at most 100 characters",
        "limits" => "1 to 5 limits of one currency, each kind once; none only beside a timezone",
        "limits[].kind" => "perTransaction, countPerHour, daily, monthly or dao, each once",
        "mandate.amount" => "the price and currency of the plan",
        "mandate.catchUp" => "once",
        "mandate.recipient" => "the payee of the plan",
        "mandate.rrule" => "the rule of the plan's period, such as FREQ=MONTHLY",
        "mandate.start" => "now, or an instant of the last hour, in whole seconds (RFC 3339)",
        "mandate.until" => "absent, as count: a subscription is ended",
        "maxAmount" => "not less than the amount",
        "memo" => "at most 140 characters, none of them a control character",
        "nonce" => "8 to 64 printable ASCII characters without blanks, fresh for each order",
        "name" => "1 to 100 characters, none of them a control character",
        "owner" => "an identity that is registered here",
        "period" => "7d, 30d or 90d",
        "period of the plan" => "day, week, month or year",
        "priority" => "low, normal or high",
        "purpose" | "reason" | "items[].purpose" => "at most 500 characters",
        "recipient" => "the address to which it would leave, where a rail is named",
        "refundFees" => "none or proportional",
        "scheme" => "v1 (a shared secret) or v1a (a key pair)",
        "role" => "payer or payee",
        "rule.above" => "one amount for each currency",
        "rule.approvers" => "other identities than the owner, none of them twice",
        "rule.required" => {
            "from 1 to the number of approvers, with an amount above which it holds; all of it or nothing"
        }
        "splits" => "at most 32 parts",
        "start" => "an instant in whole seconds, at most a year ago and ten years ahead (RFC 3339)",
        "status" => "one of the states that the answers of this list show, in capitals",
        "type" => KINDS,
        "until" => "an instant (RFC 3339)",
        "timezone" => "a name of the time zone database, such as Europe/Madrid",
        "url" => "an http or https address of at most 2000 characters",
        _ => return None,
    };
    Some(form)
}

#[cfg(test)]
mod tests {
    use super::KINDS;
    use crate::store::ledger::TransactionKind;

    #[test]
    fn each_kind_of_transaction_is_named() {
        let names = KINDS.replace(" or ", ", ");
        let names: Vec<&str> = names.split(", ").collect();
        assert!(names.iter().all(|name| TransactionKind::find(name).is_some()), "{names:?}");
        let last = i64::try_from(names.len()).unwrap();
        assert!(TransactionKind::from_code(last).is_none(), "a kind has no name here");
    }
}
