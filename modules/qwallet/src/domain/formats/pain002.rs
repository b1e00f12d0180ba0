//! ISO 20022 pain.002, customer payment status report: what became of each payment of a pain.001 file.
//!
//! The version follows the file's: 001.10 answers pain.001.001.09, 001.03 answers pain.001.001.03.

use q_core::Timestamp;

use super::{
    NotRepresentable,
    text::{at_most, one_line},
    xml::Xml,
};

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// `Max105Text`
const REASON_MAX: usize = 105;

/// The formats that are answered, and with which.
const ANSWERS: [(&str, &str); 2] =
    [("pain.001.001.09", "pain.002.001.10"), ("pain.001.001.03", "pain.002.001.03")];

/// What became of a file.
pub struct Report<'a> {
    /// Its own name, at most 35 characters.
    pub id: String,
    /// When it is written.
    pub made_at: Timestamp,
    /// The file's `MsgId`.
    pub message_id: &'a str,
    /// The file's format.
    pub format: &'a str,
    /// Whether it was executed; otherwise it was read.
    pub is_executed: bool,
    /// Its payments in order.
    pub lines: Vec<Line<'a>>,
}

/// What became of one payment.
pub struct Line<'a> {
    /// `PmtInfId` of its group.
    pub group: &'a str,
    /// `EndToEndId`.
    pub end_to_end_id: &'a str,
    /// The settled transaction.
    pub transaction: Option<String>,
    /// Why it is refused: the code and the words.
    pub refusal: Option<(&'a str, &'a str)>,
}

/// Writes a report.
pub fn report(report: &Report<'_>) -> Result<String, NotRepresentable> {
    let answer = ANSWERS.iter().find(|(file, _)| *file == report.format);
    let Some((_, answer)) = answer else {
        let what = format!("pain.002 answers pain.001 files, and this one is {}", report.format);
        return Err(NotRepresentable::new(what, "GET /imports/{importId} tells the same of any file"));
    };
    let mut xml = Xml::begin(PROLOG);
    xml.within(&format!("Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:{answer}\""), |xml| {
        xml.within("CstmrPmtStsRpt", |xml| {
            xml.within("GrpHdr", |xml| {
                xml.leaf("MsgId", &report.id);
                xml.leaf("CreDtTm", &report.made_at.to_string());
            });
            xml.within("OrgnlGrpInfAndSts", |xml| {
                xml.leaf("OrgnlMsgId", report.message_id);
                xml.leaf("OrgnlMsgNmId", report.format);
                xml.leaf("OrgnlNbOfTxs", &report.lines.len().to_string());
                xml.leaf("GrpSts", group_status(report.is_executed, &report.lines));
            });
            for lines in report.lines.chunk_by(|one, next| one.group == next.group) {
                xml.within("OrgnlPmtInfAndSts", |xml| {
                    xml.leaf("OrgnlPmtInfId", lines[0].group);
                    xml.leaf("OrgnlNbOfTxs", &lines.len().to_string());
                    xml.leaf("PmtInfSts", group_status(report.is_executed, lines));
                    for line in lines {
                        xml.within("TxInfAndSts", |xml| self::line(xml, line, report.is_executed));
                    }
                });
            }
        });
    });
    Ok(xml.finish())
}

/// The status of several payments: settled, in part, rejected; or received, where nothing was executed yet.
fn group_status(is_executed: bool, lines: &[Line<'_>]) -> &'static str {
    let refused = lines.iter().filter(|line| line.refusal.is_some()).count();
    match (is_executed, refused) {
        (_, refused) if refused == lines.len() => "RJCT",
        (false, _) => "RCVD",
        (true, 0) => "ACSC",
        (true, _) => "PART",
    }
}

fn line(xml: &mut Xml, line: &Line<'_>, is_executed: bool) {
    xml.leaf("OrgnlEndToEndId", line.end_to_end_id);
    let status = match (line.refusal, is_executed) {
        (Some(_), _) => "RJCT",
        (None, true) => "ACSC",
        (None, false) => "PDNG",
    };
    xml.leaf("TxSts", status);
    if let Some((code, words)) = line.refusal {
        xml.within("StsRsnInf", |xml| {
            xml.within("Rsn", |xml| xml.leaf("Cd", reason(code)));
            xml.leaf("AddtlInf", &at_most(&one_line(&format!("{code}: {words}")), REASON_MAX));
        });
    }
    xml.leaf("AcctSvcrRef", line.transaction.as_deref().unwrap_or_default());
}

/// The code of ISO 20022's list of status reasons; `NARR` where only the words say it.
fn reason(code: &str) -> &'static str {
    match code {
        "RECIPIENT_UNKNOWN" => "AC03",
        "WALLET_FROZEN" => "AC06",
        "INSUFFICIENT_FUNDS" => "AM04",
        "TX_LIMIT_EXCEEDED" | "DAILY_LIMIT_EXCEEDED" | "MONTHLY_LIMIT_EXCEEDED" => "AM14",
        "CURRENCY_UNSUPPORTED" => "AM03",
        _ => "NARR",
    }
}
