//! Whatever people type, it stays in its place in every format.

use proptest::prelude::*;
use q_core::{Amount, SignedAmount, Timestamp};
use quick_xml::{Reader, events::Event};
use qwallet_api::TransactionId;

use super::{camt053, csv, journal, journal::Dialect, ofx, text::one_line};
use crate::domain::{
    currency,
    statement::{Entry, Period, Statement},
    transfer::Purpose,
};

/// A statement of one payment received, with these words.
fn statement(purpose: &str, client_ref: Option<&str>) -> Statement {
    let amount = SignedAmount::plus(Amount::from_units(1_500_000_000_000_000_000));
    let at = Timestamp::from_seconds(1_795_251_600);
    Statement {
        number: Some(7),
        wallet: "QQ12ABCDEFGHIJKLMNOPQRSTUV".into(),
        owner: "did:key:z6Mk".into(),
        currency: &currency::ALL[0],
        iso_alias: Some("XTS".into()),
        period: Period { from: at, to: at },
        made_at: at,
        opening: SignedAmount::ZERO,
        closing: amount,
        entries: vec![Entry {
            seq: 1,
            at,
            transaction: TransactionId::from_bytes([7; 16]),
            kind: "payment",
            leg: Purpose::Principal,
            change: amount,
            balance: amount,
            counterparty: "QQ34ABCDEFGHIJKLMNOPQRSTUV".into(),
            purpose: Some(purpose.into()),
            client_ref: client_ref.map(str::to_owned),
        }],
    }
}

/// The texts of all elements with this name, or why the document is none.
fn texts(document: &str, name: &str) -> Result<String, String> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().enable_all_checks(true);
    let (mut found, mut is_inside) = (String::new(), false);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => is_inside = start.name().as_ref() == name,
            Event::End(_) => is_inside = false,
            Event::Text(text) if is_inside => found.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) if is_inside => {
                let name = reference.xml10_content().into_owned();
                found.push_str(quick_xml::escape::resolve_xml_entity(&name).ok_or(name)?);
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn no_text_leaves_its_place(purpose in "(?s)'{0,2}[=\t]?.{0,200}", reference in proptest::option::of("[^\\p{C}]{1,35}")) {
        let (odd, plain) = (statement(&purpose, reference.as_deref()), statement("x", Some("y")));
        prop_assert!(odd.adds_up());

        let table = csv::statement(&odd);
        let mut rows = ::csv::Reader::from_reader(table.as_bytes());
        let rows: Vec<::csv::StringRecord> = rows.records().map(Result::unwrap).collect();
        prop_assert_eq!(rows.len(), 3);
        let cells = (&rows[1][6], &rows[1][7], &rows[1][8]);
        prop_assert!(!csv::is_formula(cells.0) && !csv::is_formula(cells.1));
        prop_assert_eq!(csv::text_of(cells.0), &purpose);
        prop_assert_eq!(cells.2, "1.5");

        let words = one_line(&purpose);
        let camt = camt053::statement(&odd).unwrap();
        let read = texts(&camt, "Ustrd").unwrap();
        prop_assert_eq!(read.replace(' ', ""), words.replace(' ', ""));
        let ofx = ofx::statement(&odd);
        prop_assert!(texts(&ofx, "MEMO").unwrap().ends_with(&*words));

        for dialect in [Dialect::Hledger, Dialect::Ledger, Dialect::Beancount] {
            let (odd, plain) =
                (journal::statement(&odd, dialect).unwrap(), journal::statement(&plain, dialect).unwrap());
            let differing: Vec<(&str, &str)> =
                odd.lines().zip(plain.lines()).filter(|(odd, plain)| odd != plain).collect();
            prop_assert_eq!(odd.lines().count(), plain.lines().count());
            prop_assert!(differing.len() <= 1, "{:?}", differing);
            let is_quiet = |line: &str| dialect == Dialect::Beancount || !line.contains([';', '|']);
            prop_assert!(differing.iter().all(|(line, _)| line.starts_with("2026-") && is_quiet(line)));
        }
    }

    #[test]
    fn every_amount_is_written_to_the_last_unit_or_refused(units: u128, places in 0u32..38) {
        // Of every size, not only of the largest.
        let units = units / 10u128.pow(places);
        let amount = SignedAmount::plus(Amount::from_units(units));
        let mut one = statement("x", None);
        (one.closing, one.entries[0].change, one.entries[0].balance) = (amount, amount, amount);
        let (short, full) = (amount.display(one.currency.scale), amount.display_full(one.currency.scale));
        let row = format!(",{short},QToken,{short}\r\n");
        prop_assert!(csv::statement(&one).contains(&row));
        let written = texts(&ofx::statement(&one), "TRNAMT").unwrap();
        prop_assert_eq!(&written, &short);
        let hledger = journal::statement(&one, Dialect::Hledger).unwrap();
        let posting = format!("  {full} QToken = {full} QToken\n");
        prop_assert!(hledger.contains(&posting));
        prop_assert_eq!(journal::statement(&one, Dialect::Beancount).is_ok(), units < 10u128.pow(28));
        let digits = short.chars().filter(char::is_ascii_digit).collect::<String>();
        let decimals = short.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let fits = decimals <= 5 && digits.trim_start_matches('0').len().max(decimals) <= 18;
        prop_assert_eq!(camt053::statement(&one).is_ok(), fits);
    }
}
