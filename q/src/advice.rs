//! What the instance advises, in the words of the command line: where a refusal names an HTTP call, whoever sits here
//! needs the verb.

/// Calls, as the modules' hints name them, and the verbs that make them. The longer of two that begin alike stands first.
const VERBS: &[(&str, &str)] = &[
    ("GET /currencies", "`q call qwallet GET /currencies`"),
    ("GET /escrows/{escrowId}", "`q wallet escrow show`"),
    ("GET /escrows", "`q wallet escrow list`"),
    ("GET /imports/{importId}", "`q wallet import`"),
    ("GET /plans", "`q wallet plan list`"),
    ("GET /quote", "`q wallet quote`"),
    ("GET /r/{requestId}", "`q wallet request show`"),
    ("GET /rails", "`q wallet rail list`"),
    ("GET /rails/{rail}/suspense", "`q wallet rail suspense`"),
    ("PUT /rails/{rail}/key", "`q wallet rail key`"),
    ("GET /tx/{transactionId}/refunds", "`q wallet show`"),
    ("GET /wallets/{squidId}/limits", "`q wallet limits`"),
    ("GET /wallets", "`q wallet balance`"),
    ("GET /webhooks/{webhookId}/deliveries", "`q wallet webhook deliveries`"),
    ("GET /webhooks", "`q wallet webhook list`"),
    ("GET /intents lists", "`q wallet intents list` lists"),
    ("GET /intents/{intentId}", "`q wallet intents show ID --as NAME`"),
    ("PUT /wallets/{squidId}/limits", "`q wallet limits [NAME] --set KIND=AMOUNT`"),
    ("PUT /wallets/{squidId}/approvals", "`q wallet approvals set`"),
    ("GET /keys", "`q call qlock GET /keys`"),
    ("GET /algorithms", "`q call qlock GET /algorithms`"),
    ("POST /intents/{intentId}/void", "`q wallet hold void ID`"),
    ("POST /intents/{intentId}/capture with `into` escrow", "`q wallet hold capture ID --escrow ORDER`"),
    ("POST /intents/{intentId}/capture", "`q wallet hold capture ID`"),
    ("POST /intents with `capture` manual", "`q wallet hold open`"),
    ("POST /intents", "`q wallet intents new`"),
    ("POST /payments", "`q wallet pay`"),
    ("POST /refunds", "`q wallet refund`"),
    ("POST /sign", "`q wallet intents pay ID --as NAME`"),
    ("POST /wallets", "`q wallet open`"),
    ("POST /withdrawals", "`q wallet rail withdraw`"),
    ("GET /withdrawals/{withdrawalId}", "`q wallet rail show`"),
    ("leave `amount` out", "leave the amount out"),
    ("GET /transactions/{squidId}", "`q wallet history`"),
    (
        "only operators of this instance may call this",
        "only operators of this instance may call this (--as operator)",
    ),
    (
        "an approver is allowed `admin` on the instance",
        "an approver is an operator, and `q id appoint` makes one",
    ),
];

/// `text` with verbs in the places of calls. A call of which no verb is known stays: `q call` makes it.
pub fn in_verbs(text: &str) -> String {
    let (mut told, intent) = (text.to_owned(), intent_of(text));
    for (call, verb) in VERBS {
        if let Some(at) = told.find(call) {
            // A longer path than the one meant is another call.
            let ends = told[at + call.len()..]
                .chars()
                .next()
                .is_none_or(|next| !"/{".contains(next) && !next.is_alphanumeric());
            if ends {
                let verb = intent
                    .map_or_else(|| (*verb).to_owned(), |intent| verb.replace(" ID", &format!(" {intent}")));
                told.replace_range(at..at + call.len(), &verb);
            }
        }
    }
    told
}

/// The intent that `text` is about.
fn intent_of(text: &str) -> Option<&str> {
    let rest = &text[text.find("intent_")?..];
    let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_as_the_verb_that_makes_it() {
        assert_eq!(in_verbs("see GET /wallets"), "see `q wallet balance`");
        assert_eq!(
            in_verbs("GET /wallets/{squidId}/limits tells what is left"),
            "`q wallet limits` tells what is left"
        );
        assert_eq!(in_verbs("GET /wallets/{squidId} is another"), "GET /wallets/{squidId} is another");
        assert_eq!(
            in_verbs("then sign intent_12ab: POST /sign"),
            "then sign intent_12ab: `q wallet intents pay intent_12ab --as NAME`"
        );
        assert_eq!(
            in_verbs("held (POST /intents with `capture` manual), taken: POST /intents/{intentId}/capture"),
            "held (`q wallet hold open`), taken: `q wallet hold capture ID`"
        );
        assert_eq!(
            in_verbs("sign a new order, POST /withdrawals"),
            "sign a new order, `q wallet rail withdraw`"
        );
        assert_eq!(in_verbs("leave `amount` out to take all"), "leave the amount out to take all");
        assert_eq!(in_verbs("nothing to do"), "nothing to do");
    }
}
