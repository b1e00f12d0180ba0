//! What was carried out lately, as each commit appends it: requests and nonces that are not sorted into their tables yet.

use q_db::{DbError, Reader, Tx, params};

use super::requests::{Nonce, Request};

/// A request with what came of it.
pub type Answered = (Request, [u8; 16]);

/// Bytes of one request: key, fingerprint, answer.
const REQUEST_BYTES: usize = 64;
/// Bytes of one nonce: its hour and itself.
const NONCE_BYTES: usize = 24;
/// Bytes of the count of requests, which comes first.
const COUNT_BYTES: usize = 4;

/// Appends what one commit carried out at a place behind all that were given before, also those whose rows are gone.
pub fn append(tx: &mut Tx<'_>, place: i64, requests: &[Answered], nonces: &[Nonce]) -> Result<(), DbError> {
    let row = params![place, encode(requests, nonces)];
    tx.execute("INSERT INTO recent (place, entries) VALUES ($1, $2)", row)?;
    Ok(())
}

/// Calls `each` with every entry and its place, in the order of arrival.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(i64, Vec<Answered>, Vec<Nonce>),
) -> Result<(), DbError> {
    reader.for_each("SELECT place, entries FROM recent ORDER BY place", params![], |row| {
        let bytes: Vec<u8> = row.try_get(1)?;
        let bad = DbError::BadRow { column: 1, expected: "requests and nonces" };
        let (requests, nonces) = decode(&bytes).ok_or(bad)?;
        each(row.try_get(0)?, requests, nonces);
        Ok(())
    })
}

/// Removes what was appended up to a place.
pub fn remove(tx: &mut Tx<'_>, up_to: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM recent WHERE place <= $1", params![up_to])?;
    Ok(())
}

fn encode(requests: &[Answered], nonces: &[Nonce]) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(COUNT_BYTES + requests.len() * REQUEST_BYTES + nonces.len() * NONCE_BYTES);
    bytes.extend(u32::try_from(requests.len()).expect("a commit has few requests").to_be_bytes());
    for (request, answer) in requests {
        bytes.extend(request.key);
        bytes.extend(request.fingerprint);
        bytes.extend(answer);
    }
    for nonce in nonces {
        bytes.extend(nonce.hour.to_be_bytes());
        bytes.extend(nonce.nonce);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Vec<Answered>, Vec<Nonce>)> {
    let (count, rest) = bytes.split_first_chunk::<COUNT_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*count)).ok()?.checked_mul(REQUEST_BYTES)?;
    let (requests, nonces) = rest.split_at_checked(length)?;
    let request = |bytes: &[u8]| {
        let (key, rest) = bytes.split_first_chunk()?;
        let (fingerprint, answer) = rest.split_first_chunk()?;
        let request = Request { key: *key, fingerprint: *fingerprint };
        Some((request, *answer.first_chunk()?))
    };
    let nonce = |bytes: &[u8]| {
        let (hour, nonce) = bytes.split_first_chunk()?;
        Some(Nonce { hour: i64::from_be_bytes(*hour), nonce: *nonce.first_chunk()? })
    };
    let requests = requests.chunks(REQUEST_BYTES).map(request).collect::<Option<_>>()?;
    Some((requests, nonces.chunks(NONCE_BYTES).map(nonce).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let request = |byte| (Request { key: [byte; 16], fingerprint: [byte; 32] }, [byte; 16]);
        let (requests, nonces) = (vec![request(1), request(2)], vec![Nonce { hour: -3, nonce: [4; 16] }]);
        for (requests, nonces) in [(requests.clone(), nonces.clone()), (requests, vec![]), (vec![], nonces)] {
            let bytes = encode(&requests, &nonces);
            assert_eq!(decode(&bytes), Some((requests, nonces)));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(decode(&[0, 0]), None);
    }
}
