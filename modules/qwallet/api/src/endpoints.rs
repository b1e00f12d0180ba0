//! The endpoints of qwallet.

use q_contract::{Access, Text, codes, endpoint};

use crate::{
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, APPROVAL_REQUIRED,
        BATCH_TOO_LARGE, COUNT_LIMIT_EXCEEDED, CURRENCY_UNSUPPORTED, DAILY_LIMIT_EXCEEDED,
        DAO_LIMIT_EXCEEDED, EXPORT_NOT_REPRESENTABLE, FEES_EXCEED_MAXIMUM, IMPORT_INVALID, IMPORT_NOT_FOUND,
        INSUFFICIENT_FUNDS, INTENT_EXPIRED, INTENT_NOT_CANCELLABLE, INTENT_NOT_FOUND, INVALID_STATE,
        MISSING_PROOFS, MONTHLY_LIMIT_EXCEEDED, NOT_AN_APPROVER, QONSENT_STALE, QUEUE_FULL, QUOTE_EXPIRED,
        QUOTE_INVALID, RAIL_UNSUPPORTED, RECIPIENT_UNKNOWN, REQUEST_STATE, SELF_PAYMENT, SIGNATURE_INVALID,
        TRANSACTION_NOT_FOUND, TX_LIMIT_EXCEEDED, UCAN_EXPIRED, UCAN_INVALID, UCAN_POLICY_VIOLATION,
        UCAN_REVOKED, UCAN_TOO_EARLY, UCAN_USED_UP, WALLET_EXISTS, WALLET_FROZEN, WALLET_NOT_FOUND,
    },
    types::{
        BalanceReport, BatchRequest, BatchResult, ChainList, CreateIntentRequest, CreateWalletRequest,
        CurrencyList, EntryPage, ExecuteImportRequest, ExportRequest, FaucetRequest, GetBalanceRequest,
        Import, ImportPath, ImportRequest, Intent, IntentPage, IntentPath, IssuanceRequest, LimitList,
        ListCurrenciesRequest, ListHeadsRequest, ListIntentsRequest, ListTransactionsRequest,
        ListWalletsRequest, PayRequest, PaymentRequest, SetLimitsRequest, SetStripesRequest, SignRequest,
        SignedIntent, StripeList, Transaction, TransactionPath, TrialBalance, TrialBalanceRequest, Wallet,
        WalletList, WalletPath,
    },
};

endpoint! {
    /// Opens a wallet for the caller, with an account of each currency; of an AID, of one.
    ///
    /// What its owner is decides what it may do. A sub-identity's wallet draws on its parent's limits, so the parent opens
    /// one first.
    pub CreateWallet = POST "/wallets" (CreateWalletRequest) -> Wallet;
    status 201;
    access Access::Identity("wallet:write");
    errors [WALLET_EXISTS, codes::FORBIDDEN, codes::INVALID_REQUEST, CURRENCY_UNSUPPORTED, WALLET_NOT_FOUND];
    example { "label": "household" };
}
endpoint! {
    /// Lists the caller's wallets.
    pub ListWallets = GET "/wallets" (ListWalletsRequest) -> WalletList;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Shows a wallet.
    ///
    /// Answers 404 to everybody but the owner and those the owner allowed to read it.
    pub GetWallet = GET "/wallets/{squidId}" (WalletPath) -> Wallet;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND];
}
endpoint! {
    /// Tells how much may be spent from a wallet: in one transaction, in a day, in a month (calendar, UTC), and how
    /// often in an hour. A wallet below another draws on the limits of both.
    ///
    /// What recipients get counts, without fees, when it is paid or held; what a cancelled or lapsed hold frees is given
    /// back.
    pub GetLimits = GET "/wallets/{squidId}/limits" (WalletPath) -> LimitList;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND];
    tool "wallet.limits";
}
endpoint! {
    /// Changes limits: lower at once; higher a day later, or as soon as an operator sends the same.
    ///
    /// Days and months are those of the wallet's `timezone`. Another one lets nothing be spent before its time: what was
    /// counted goes on to count until its day or month is over, and until one of the new zone begins.
    ///
    /// Of a wallet below another, only the parent or a guardian raises them, at once, and chooses the zone. What is delegated to a DAO is raised
    /// by two operators: `PATCH /wallets/{squidId}`.
    pub SetLimits = PUT "/wallets/{squidId}/limits" (SetLimitsRequest) -> LimitList;
    access Access::Identity("wallet:write");
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, INVALID_STATE, CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, QUEUE_FULL, codes::FORBIDDEN,
    ];
    example { "limits": [{ "kind": "daily", "currency": "QToken", "amount": "250" }] };
}
endpoint! {
    /// Spreads what a much-paid wallet receives over stripes, so that replicas do not wait for one another. Never fewer
    /// than before.
    pub SetStripes = PUT "/wallets/{squidId}/stripes" (SetStripesRequest) -> StripeList;
    access Access::Operator;
    errors [codes::INVALID_REQUEST, WALLET_NOT_FOUND, CURRENCY_UNSUPPORTED, WALLET_FROZEN];
    example { "currency": "QToken", "count": 4 };
}
endpoint! {
    /// Tells what a wallet holds, now or at a past instant.
    pub GetBalance = GET "/balance/{squidId}" (GetBalanceRequest) -> BalanceReport;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND, CURRENCY_UNSUPPORTED];
    tool "wallet.balance";
}
endpoint! {
    /// Lists what changed a wallet's balance, newest first.
    ///
    /// A page that filters left empty still says where the next one begins.
    pub ListTransactions = GET "/transactions/{squidId}" (ListTransactionsRequest) -> EntryPage;
    access Access::Identity("wallet:read");
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, WALLET_NOT_FOUND, CURRENCY_UNSUPPORTED,
        AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE,
    ];
    tool "wallet.transactions";
}
endpoint! {
    /// Shows a transaction with its transfers.
    pub GetTransaction = GET "/tx/{transactionId}" (TransactionPath) -> Transaction;
    access Access::Identity("wallet:read");
    errors [TRANSACTION_NOT_FOUND];
}
endpoint! {
    /// Lists the currencies.
    pub ListCurrencies = GET "/currencies" (ListCurrenciesRequest) -> CurrencyList;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Decides a payment from the caller's wallet; the answer holds the text to sign.
    pub CreateIntent = POST "/intents" (CreateIntentRequest) -> Intent;
    status 201;
    access Access::Identity("wallet:write");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, WALLET_NOT_FOUND, RECIPIENT_UNKNOWN, SELF_PAYMENT,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN, codes::FORBIDDEN, QUOTE_INVALID,
        QUOTE_EXPIRED,
    ];
    tool "wallet.intent";
    example { "amount": "1.5", "currency": "QToken", "recipient": "QQ0000000000000000000000" };
}
endpoint! {
    /// Lists the caller's intents, newest first.
    pub ListIntents = GET "/intents" (ListIntentsRequest) -> IntentPage;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Shows an intent.
    pub GetIntent = GET "/intents/{intentId}" (IntentPath) -> Intent;
    access Access::Identity("wallet:read");
    errors [INTENT_NOT_FOUND];
}
endpoint! {
    /// Cancels an intent; what it held is free again.
    pub CancelIntent = DELETE "/intents/{intentId}" (IntentPath) -> Intent;
    access Access::Identity("wallet:write");
    errors [INTENT_NOT_FOUND, INTENT_NOT_CANCELLABLE, QUEUE_FULL];
}
endpoint! {
    /// Signs an intent: the amount and the fees are held until it is paid, cancelled or lapses.
    ///
    /// Where others have to approve it first, `APPROVAL_REQUIRED` has the link that they open.
    pub SignIntent = POST "/sign" (SignRequest) -> SignedIntent;
    access Access::Signed;
    errors [
        APPROVAL_REQUIRED, codes::MFA_REQUIRED,
        codes::IDEMPOTENCY_KEY_REUSED, INTENT_NOT_FOUND, INVALID_STATE, INTENT_EXPIRED, SIGNATURE_INVALID,
        WALLET_FROZEN, TX_LIMIT_EXCEEDED, DAILY_LIMIT_EXCEEDED, MONTHLY_LIMIT_EXCEEDED, INSUFFICIENT_FUNDS,
        QUEUE_FULL, COUNT_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED, REQUEST_STATE,
    ];
    tool "wallet.sign";
}
endpoint! {
    /// Settles a signed payment of the caller.
    pub Pay = POST "/pay" (PayRequest) -> Transaction;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, TRANSACTION_NOT_FOUND, INVALID_STATE, INTENT_EXPIRED, QUEUE_FULL, WALLET_FROZEN, REQUEST_STATE];
    tool "wallet.pay";
}
endpoint! {
    /// Pays in one step under one signature; the answer comes after the payment is on disk.
    ///
    /// The signature is a JWS over the order, or a UCAN invocation of `/qwallet/wallet/pay` with the order as arguments:
    /// by the payer, or by whoever holds a delegation of the payer. Both replace a token. What a delegation's policy
    /// bounds are the arguments and `resource`, `action` and `costMicros` (amount and greatest fees, in millionths,
    /// rounded up).
    ///
    /// Beyond the own limits of a wallet below another nothing is paid, and an intent is made of it: `APPROVAL_REQUIRED`
    /// has its id and the link that its parent or guardian opens. Once it is approved there, sign the intent. What names a
    /// request for money in `clientRef` settles it then, too.
    pub CreatePayment = POST "/payments" (PaymentRequest) -> Transaction;
    status 201;
    access Access::Signed;
    errors [
        APPROVAL_REQUIRED, codes::MFA_REQUIRED,
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, INTENT_EXPIRED, SIGNATURE_INVALID, UCAN_INVALID, MISSING_PROOFS, UCAN_REVOKED, UCAN_EXPIRED,
        UCAN_TOO_EARLY, UCAN_POLICY_VIOLATION, UCAN_USED_UP, QONSENT_STALE, RECIPIENT_UNKNOWN, SELF_PAYMENT, RAIL_UNSUPPORTED,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN, TX_LIMIT_EXCEEDED,
        DAILY_LIMIT_EXCEEDED, MONTHLY_LIMIT_EXCEEDED, COUNT_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED, QUOTE_INVALID,
        QUOTE_EXPIRED, FEES_EXCEED_MAXIMUM, REQUEST_STATE, INSUFFICIENT_FUNDS, QUEUE_FULL, codes::FORBIDDEN,
    ];
    tool "wallet.pay_once";
}
endpoint! {
    /// Pays up to 8,190 recipients under one signature.
    ///
    /// Items that are refused are answered in place; with `atomic` one refusal undoes all.
    pub CreateBatch = POST "/payments/batch" (BatchRequest) -> BatchResult;
    access Access::Signed;
    errors [
        APPROVAL_REQUIRED, codes::MFA_REQUIRED,
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, BATCH_TOO_LARGE,
        codes::IDEMPOTENCY_KEY_REUSED, WALLET_NOT_FOUND, INTENT_EXPIRED, SIGNATURE_INVALID, RAIL_UNSUPPORTED, CURRENCY_UNSUPPORTED,
        FEES_EXCEED_MAXIMUM, QUEUE_FULL,
    ];
    body_max 8 << 20;
}
endpoint! {
    /// Puts money into circulation, or takes it out, under the signatures of two approvers.
    pub Issue = POST "/issuance" (IssuanceRequest) -> Transaction;
    status 201;
    access Access::Signed;
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, INTENT_EXPIRED, SIGNATURE_INVALID, CURRENCY_UNSUPPORTED, AMOUNT_PRECISION,
        AMOUNT_OUT_OF_RANGE, NOT_AN_APPROVER, APPROVAL_REQUIRED, INSUFFICIENT_FUNDS, QUEUE_FULL, WALLET_FROZEN,
    ];
}
endpoint! {
    /// Gives test money. Exists only on an instance started as a demonstration.
    pub Faucet = POST "/faucet" (FaucetRequest) -> Transaction;
    status 201;
    access Access::Identity("wallet:write");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::IDEMPOTENCY_KEY_REUSED, WALLET_NOT_FOUND,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, QUEUE_FULL, WALLET_FROZEN,
    ];
}
endpoint! {
    /// Reads a payout file and reports on each line; nothing is paid yet.
    ///
    /// ISO 20022 pain.001.001.09 or .03, or a table of comma-separated values whose first line names its columns:
    /// `recipient` and `amount`, and where wanted `currency`, `reference` and `purpose`.
    pub CreateImport = POST "/imports" (ImportRequest) -> Import;
    status 201;
    access Access::Identity("wallet:write");
    errors [IMPORT_INVALID, BATCH_TOO_LARGE, WALLET_NOT_FOUND];
    consumes "application/xml, text/csv" document;
    body_max 10 << 20;
}
endpoint! {
    /// Shows the report on a payout file.
    pub GetImport = GET "/imports/{importId}" (ImportPath) -> Import;
    access Access::Identity("wallet:read");
    errors [IMPORT_NOT_FOUND];
}
endpoint! {
    /// Answers a pain.001 file with what became of its payments, as ISO 20022 pain.002.
    pub GetImportStatus = GET "/imports/{importId}/status" (ImportPath) -> Text;
    access Access::Identity("wallet:read");
    errors [IMPORT_NOT_FOUND, EXPORT_NOT_REPRESENTABLE];
    produces "application/xml";
}
endpoint! {
    /// Executes a payout file under one signature.
    pub ExecuteImport = POST "/imports/{importId}/execute" (ExecuteImportRequest) -> BatchResult;
    access Access::Signed;
    errors [
        APPROVAL_REQUIRED, codes::MFA_REQUIRED,
        codes::IDEMPOTENCY_KEY_REUSED, IMPORT_NOT_FOUND, INVALID_STATE, INTENT_EXPIRED, SIGNATURE_INVALID,
        FEES_EXCEED_MAXIMUM, QUEUE_FULL,
    ];
}
endpoint! {
    /// Sums both sides of the books; their difference is zero.
    pub GetTrialBalance = GET "/ledger/trial-balance" (TrialBalanceRequest) -> TrialBalance;
    access Access::Operator;
}
endpoint! {
    /// Lists the chains of the books, one a writer, each with the head that everything before it hashes into.
    pub ListHeads = GET "/ledger/heads" (ListHeadsRequest) -> ChainList;
    access Access::Operator;
}
endpoint! {
    /// Writes the whole books for another accounting program, or as replayable lines.
    pub ExportLedger = GET "/ledger/export" (ExportRequest) -> Text;
    access Access::Operator;
    errors [EXPORT_NOT_REPRESENTABLE];
}
