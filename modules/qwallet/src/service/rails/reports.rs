//! What a bank says of a file before it pays it: what it does not make is free again.

use std::borrow::Cow;

use q_core::Amount;
use qwallet_api::{PayoutReportTaken, TakePayoutReportRequest, TransactionId};
use qwallet_rails::{ChainAmount, sepa};

use super::{
    bank::{NAME, ours, refused},
    outgoing::End,
};
use crate::{
    domain::rails::OutgoingStatus,
    error::Error,
    service::Service,
    store::{self, rails::OutgoingRow},
};

/// The longest text of a bank that is kept.
const REASON_CHARACTERS_MAX: usize = 200;

impl Service {
    /// Takes in what the bank says of a file of payments.
    pub async fn take_payout_report(
        &self,
        asked: TakePayoutReportRequest,
    ) -> Result<PayoutReportTaken, Error> {
        let bank = self.rails.bank(&asked.rail)?;
        let _one = bank.visit.lock().await;
        let read = sepa::read_report(&asked.document).map_err(|error| refused(error.to_string()))?;
        let name = read.message_id.clone();
        let found = self.db.read(move |reader| store::rails::find_file(reader, NAME, &name)).await?;
        if found.is_none() {
            return Err(refused(format!("no file for the bank is called {}", read.message_id)));
        }
        let open = self.db.read(move |reader| store::rails::open_outgoing(reader, NAME)).await?;
        let is_of_file = |row: &&OutgoingRow| {
            row.status == OutgoingStatus::Broadcasting && row.hash.as_ref() == Some(&read.message_id)
        };
        let mut rows: Vec<&OutgoingRow> = open.iter().filter(is_of_file).collect();
        let mut taken = PayoutReportTaken {
            message_id: read.message_id.clone(),
            rejected: 0,
            on_their_way: 0,
            unknown: 0,
        };
        let mut refused_rows: Vec<(&OutgoingRow, String)> = Vec::new();
        for payment in &read.payments {
            let id: Option<TransactionId> = payment.end_to_end_id.parse().ok();
            let Some(at) = rows.iter().position(|row| Some(row.id) == id) else {
                taken.unknown += 1;
                continue;
            };
            match payment.rejected.clone().or_else(|| read.rejected.clone()) {
                Some(reason) => refused_rows.push((rows.swap_remove(at), reason)),
                None => taken.on_their_way += 1,
            }
        }
        if let Some(reason) = &read.rejected {
            refused_rows.extend(rows.into_iter().map(|row| (row, reason.clone())));
        }
        for (row, why) in refused_rows {
            let why: String = why.chars().filter(|letter| !letter.is_control()).collect();
            let why: String = format!("the bank does not make the payment: {why}")
                .chars()
                .take(REASON_CHARACTERS_MAX)
                .collect();
            let reason = Some(Cow::Owned(why));
            let end = End { hash: None, block: None, fee: ChainAmount(0), is_success: false, reason };
            if self.end_in_books(bank.side, row.clone(), end, Amount::ZERO).await.map_err(ours)? {
                taken.rejected += 1;
            }
        }
        Ok(taken)
    }
}
