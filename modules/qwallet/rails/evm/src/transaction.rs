//! Transactions of EIP-1559, as bytes.
//!
//! **Invariant:** the same order makes the same bytes: signatures are deterministic.

use qwallet_rails::RailError;

use crate::keys::{Address, Key, keccak};

/// The type byte of EIP-2718 that stands before such a transaction.
const TYPE: u8 = 2;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub chain_id: u64,
    pub nonce: u64,
    pub tip_per_gas: u128,
    pub fee_per_gas_max: u128,
    pub gas_limit: u64,
    pub to: Address,
    pub value: u128,
    pub data: Vec<u8>,
}

impl Transaction {
    /// The bytes to send, and their hash, which is the name of the transaction.
    pub(crate) fn sign(&self, key: &Key) -> Result<(Vec<u8>, [u8; 32]), RailError> {
        let fields = self.fields();
        let (signature, recovery) = key.sign(&keccak(&typed(&fields)))?;
        let (r, s) = signature.split_bytes();
        let mut signed = fields;
        put_number(&mut signed, &[u8::from(recovery.is_y_odd())]);
        put_number(&mut signed, &r);
        put_number(&mut signed, &s);
        let raw = typed(&signed);
        let hash = keccak(&raw);
        Ok((raw, hash))
    }

    fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(160 + self.data.len());
        put_number(&mut fields, &self.chain_id.to_be_bytes());
        put_number(&mut fields, &self.nonce.to_be_bytes());
        put_number(&mut fields, &self.tip_per_gas.to_be_bytes());
        put_number(&mut fields, &self.fee_per_gas_max.to_be_bytes());
        put_number(&mut fields, &self.gas_limit.to_be_bytes());
        put_bytes(&mut fields, &self.to.0);
        put_number(&mut fields, &self.value.to_be_bytes());
        put_bytes(&mut fields, &self.data);
        // No list of accessed storage.
        put_head(&mut fields, LIST, 0);
        fields
    }
}

/// First bytes of RLP (Ethereum yellow paper, appendix B).
const STRING: u8 = 0x80;
const LIST: u8 = 0xc0;

fn typed(fields: &[u8]) -> Vec<u8> {
    let mut bytes = vec![TYPE];
    put_head(&mut bytes, LIST, fields.len());
    bytes.extend_from_slice(fields);
    bytes
}

/// A number has no leading zeros; zero itself is the empty string.
fn put_number(out: &mut Vec<u8>, big_endian: &[u8]) {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    put_bytes(out, &big_endian[zeros..]);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // A byte below 0x80 stands for itself.
    if !matches!(bytes, [byte] if *byte < STRING) {
        put_head(out, STRING, bytes.len());
    }
    out.extend_from_slice(bytes);
}

fn put_head(out: &mut Vec<u8>, kind: u8, length: usize) {
    if let Some(short) = u8::try_from(length).ok().filter(|short| *short <= 55) {
        out.push(kind + short);
        return;
    }
    let length = length.to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let length = &length[zeros..];
    // At most eight bytes of length.
    out.push(kind + 55 + u8::try_from(length.len()).unwrap_or(8));
    out.extend_from_slice(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_in_their_shortest_form() {
        let put = |bytes: &[u8]| {
            let mut out = Vec::new();
            put_bytes(&mut out, bytes);
            out
        };
        assert_eq!(put(b"dog"), b"\x83dog");
        assert_eq!(put(b""), b"\x80");
        assert_eq!(put(&[0x7f]), [0x7f]);
        assert_eq!(put(&[0x80]), [0x81, 0x80]);
        assert_eq!(put(&[7; 56])[..2], [0xb8, 56]);
        assert_eq!(put(&[7; 1024])[..3], [0xb9, 4, 0]);
        let mut zero = Vec::new();
        put_number(&mut zero, &0u64.to_be_bytes());
        assert_eq!(zero, [0x80]);
    }
}
