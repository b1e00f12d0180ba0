//! The typed ids of qwallet.

q_core::typed_id!(
    /// A wallet.
    WalletId,
    "wallet_"
);
q_core::typed_id!(
    /// A payment that was decided but perhaps not yet signed.
    IntentId,
    "intent_"
);
q_core::typed_id!(
    /// A transaction: one linked group of transfers. `tx_` and 32 digits are exactly the 35 characters of
    /// ISO 20022 `Max35Text`.
    TransactionId,
    "tx_"
);
q_core::typed_id!(
    /// Money held for two parties.
    EscrowId,
    "escrow_"
);
q_core::typed_id!(
    /// A request for money, which a payment names as its reference: at most 35 characters.
    RequestId,
    "rq_"
);
q_core::typed_id!(
    /// A part that was taken of what is held for a payee.
    CaptureId,
    "capture_"
);
q_core::typed_id!(
    /// Many payments signed once.
    BatchId,
    "batch_"
);
q_core::typed_id!(
    /// What many held at an instant.
    SnapshotId,
    "snapshot_"
);
q_core::typed_id!(
    /// A payout file that was read and checked.
    ImportId,
    "import_"
);
q_core::typed_id!(
    /// A payment that comes back.
    ScheduleId,
    "schedule_"
);
q_core::typed_id!(
    /// What somebody offers for a price per period.
    PlanId,
    "plan_"
);
