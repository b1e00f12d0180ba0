//! Hostile bytes: each refused by its rule, none of them expensive.

use std::collections::BTreeMap;

use q_jose::ed25519::SecretKey;
use q_ucan::{Algorithm, Delegation, Ipld, Policy, Refusal, TokenCid, container, policy::args};

use crate::support::{draft, person, verifier};

fn to_bytes(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).unwrap()
}

fn text(text: &str) -> Ipld {
    Ipld::String(text.to_owned())
}

fn list(items: impl IntoIterator<Item = Ipld>) -> Ipld {
    Ipld::List(items.into_iter().collect())
}

/// The claims of a delegation that holds.
fn claims() -> BTreeMap<String, Ipld> {
    let (alice, bob) = (person(1), person(2));
    BTreeMap::from([
        ("iss".to_owned(), text(alice.did.as_str())),
        ("aud".to_owned(), text(bob.did.as_str())),
        ("sub".to_owned(), text(alice.did.as_str())),
        ("cmd".to_owned(), text("/x")),
        ("pol".to_owned(), list([])),
        ("nonce".to_owned(), Ipld::Bytes(vec![7; 12])),
        ("exp".to_owned(), Ipld::Integer(1_767_229_200)),
    ])
}

/// Signs any payload under any header and tag, as an attacker with a key can.
fn sign(key: &SecretKey, header: &[u8], tag: &str, payload: BTreeMap<String, Ipld>) -> Vec<u8> {
    let signed = BTreeMap::from([
        ("h".to_owned(), Ipld::Bytes(header.to_vec())),
        (tag.to_owned(), Ipld::Map(payload)),
    ]);
    let signature = key.sign(&to_bytes(&Ipld::Map(signed.clone())));
    to_bytes(&list([Ipld::Bytes(signature.to_vec()), Ipld::Map(signed)]))
}

fn with(name: &str, value: Option<Ipld>) -> Result<(), Refusal> {
    let mut claims = claims();
    match value {
        Some(value) => claims.insert(name.to_owned(), value),
        None => claims.remove(name),
    };
    let token = sign(&person(1).key, Algorithm::Ed25519.varsig(), "ucan/dlg@1.0.0", claims);
    verifier().delegation(&Delegation::decode(&token)?)
}

fn code(result: Result<(), Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |()| "accepted")
}

#[test]
fn each_claim_has_one_allowed_form() {
    assert_eq!(with("cmd", Some(text("/x"))), Ok(()));
    for (name, value) in [
        ("iss", None),
        ("iss", Some(text("did:key:z6Mk#"))),
        ("iss", Some(text("alice"))),
        ("aud", None),
        ("aud", Some(text("did:key:a#b"))),
        ("sub", None),
        ("sub", Some(Ipld::Integer(1))),
        ("cmd", Some(text("/X"))),
        ("cmd", Some(text("/x/"))),
        ("cmd", Some(text("//x"))),
        ("cmd", Some(text("/x%2fy"))),
        ("cmd", Some(text("/сrypto"))),
        ("cmd", Some(text("x"))),
        ("pol", None),
        ("pol", Some(args([]))),
        ("nonce", None),
        ("nonce", Some(Ipld::Bytes(vec![7; 11]))),
        ("nonce", Some(text("0123456789abcdef"))),
        ("exp", None),
        ("exp", Some(Ipld::Float(1_767_229_200.0))),
        ("exp", Some(Ipld::Integer((1 << 53) + 1))),
        ("exp", Some(Ipld::Null)),
        ("nbf", Some(Ipld::Null)),
        ("nbf", Some(Ipld::Integer(-(1 << 53) - 1))),
        ("meta", Some(list([]))),
        ("iat", Some(Ipld::Integer(1))),
        ("prf", Some(list([]))),
    ] {
        assert_eq!(code(with(name, value.clone())), "UCAN_INVALID", "{name} {value:?}");
    }
}

#[test]
fn bytes_are_canonical_or_nothing() {
    let (alice, bob) = (person(1), person(2));
    let token = draft(&alice, &bob.did, Some(&alice.did), "/x").sign(&alice.key).unwrap().bytes().to_vec();
    assert!(Delegation::decode(&token).is_ok());
    let find = |needle: &[u8]| token.windows(needle.len()).position(|window| window == needle).unwrap();
    let replaced = |from: &[u8], to: &[u8]| {
        let at = find(from);
        [&token[..at], to, &token[at + from.len()..]].concat()
    };
    let payload = find(b"nucan/dlg@1.0.0") + 15;
    let nonce_twice = {
        let member = [b"enonce\x4c".as_slice(), &[7; 12]].concat();
        let at = find(&member);
        let mut bytes = [&token[..at], &member, &token[at..]].concat();
        bytes[payload] += 1;
        bytes
    };
    for (what, bytes) in [
        ("empty", vec![]),
        ("trailing byte", [token.as_slice(), &[0]].concat()),
        ("cut short", token[..token.len() - 1].to_vec()),
        ("indefinite list", [&[0x9f], &token[1..], &[0xff]].concat()),
        ("long length of a list", [&[0x98, 0x02], &token[1..]].concat()),
        ("long integer", replaced(b"cexp\x1a", b"cexp\x1b\0\0\0\0")),
        ("unsorted keys", replaced(b"caud", b"czzz")),
        ("tag other than 42", replaced(b"ccmd\x62", b"ccmd\xc1\x62")),
        ("undefined", replaced(b"cpol\x80", b"cpol\xf7")),
        ("half float", replaced(b"cpol\x80", b"cpol\xf9\x3c\x00")),
        ("duplicate key", nonce_twice),
        ("a list of three", [&[0x83], &token[1..], &[0xf6]].concat()),
        ("a map", vec![0xa0]),
        ("only a signature", vec![0x81, 0x41, 0x00]),
        ("a length beyond the end", vec![0x82, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a list that claims 2^63 items", vec![0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let refusal = Delegation::decode(&bytes).expect_err(what);
        assert_eq!(refusal.code(), "UCAN_INVALID", "{what}: {refusal}");
    }
}

#[test]
fn the_signed_map_has_two_keys_and_a_known_header_and_tag() {
    let key = person(1).key;
    let ed25519 = Algorithm::Ed25519.varsig();
    let decode =
        |header: &[u8], tag: &str| Delegation::decode(&sign(&key, header, tag, claims())).map(|_| ());
    assert_eq!(decode(ed25519, "ucan/dlg@1.0.0"), Ok(()));
    assert_eq!(decode(ed25519, "ucan/dlg@1.0.0-rc.1"), Ok(()));
    for (header, tag) in [
        (ed25519, "ucan/dlg@1.0.1"),
        (ed25519, "ucan/inv@1.0.0"),
        (ed25519, "ucan/dlg"),
        (b"\x34\x01\xed\x01\xed\x01\x13\x5f", "ucan/dlg@1.0.0"),
        (b"\x34\x01\x85\x24\x12\x80\x02\x71", "ucan/dlg@1.0.0"),
        (b"", "ucan/dlg@1.0.0"),
    ] {
        assert_eq!(code(decode(header, tag)), "UCAN_INVALID", "{tag}");
    }
    let signed = BTreeMap::from([
        ("h".to_owned(), Ipld::Bytes(ed25519.to_vec())),
        ("ucan/dlg@1.0.0".to_owned(), Ipld::Map(claims())),
        ("x".to_owned(), Ipld::Null),
    ]);
    let signature = key.sign(&to_bytes(&Ipld::Map(signed.clone())));
    let token = to_bytes(&list([Ipld::Bytes(signature.to_vec()), Ipld::Map(signed)]));
    assert_eq!(Delegation::decode(&token), Err(Refusal::Malformed("the signed map has exactly two keys")));
}

#[test]
fn signatures_bind_tag_header_and_key() {
    let check = |token: &[u8]| verifier().delegation(&Delegation::decode(token).unwrap());
    let key = person(1).key;
    let ed25519 = Algorithm::Ed25519.varsig();
    // Signed as rc.1, presented as 1.0.0.
    let old = sign(&key, ed25519, "ucan/dlg@1.0.0-rc.1", claims());
    assert_eq!(check(&old), Ok(()));
    let new = sign(&key, ed25519, "ucan/dlg@1.0.0", claims());
    let mixed = [&old[..67], &new[67..]].concat();
    assert_eq!(check(&mixed), Err(Refusal::InvalidSignature));
    // The header names another kind of key than the issuer's.
    let other_header = sign(&key, Algorithm::Es256.varsig(), "ucan/dlg@1.0.0", claims());
    assert_eq!(check(&other_header), Err(Refusal::InvalidSignature));
    // Somebody else's key.
    assert_eq!(
        check(&sign(&person(9).key, ed25519, "ucan/dlg@1.0.0", claims())),
        Err(Refusal::InvalidSignature)
    );
    // Any flipped bit of the signature.
    for bit in [0, 255, 256, 511] {
        let mut broken = new.clone();
        broken[3 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check(&broken), Err(Refusal::InvalidSignature), "bit {bit}");
    }
    // The weak key for which one signature holds for many messages.
    let mut weak = claims();
    let identity = [[0xed, 0x01, 1].as_slice(), &[0; 31]].concat();
    let weak_did = format!("did:key:z{}", bs58::encode(identity).into_string());
    weak.insert("iss".to_owned(), text(&weak_did));
    let token = sign(&key, ed25519, "ucan/dlg@1.0.0", weak);
    assert_eq!(check(&token), Err(Refusal::UnknownIssuer));
}

#[test]
fn policies_are_bounded() {
    let read = |policy: Ipld| Policy::from_ipld(&policy).map(|_| ()).map_err(|refusal| refusal.code());
    let equal = || list([text("=="), text(".a"), Ipld::Integer(1)]);
    let nested = |depth: usize| (1..depth).fold(equal(), |inner, _| list([text("not"), inner]));
    assert_eq!(read(list([nested(16)])), Ok(()));
    assert_eq!(read(list([nested(17)])), Err("UCAN_TOO_LARGE"));
    assert_eq!(read(list((0..256).map(|_| equal()))), Ok(()));
    assert_eq!(read(list((0..257).map(|_| equal()))), Err("UCAN_TOO_LARGE"));
    let like = |pattern: &str| list([list([text("like"), text(".a"), text(pattern)])]);
    assert_eq!(read(like(&"*a".repeat(128))), Ok(()));
    assert_eq!(read(like(&"*".repeat(10_000))), Err("UCAN_TOO_LARGE"));
    for statement in [
        text("=="),
        list([]),
        list([text("==")]),
        list([text("=="), text(".a")]),
        list([text("=="), text("a"), Ipld::Null]),
        list([text("~="), text(".a"), Ipld::Null]),
        list([text(">"), text(".a"), text("1")]),
        list([text("like"), text(".a"), Ipld::Integer(1)]),
        list([text("and"), text(".a"), list([])]),
        list([text("all"), text(".a"), list([text("x")])]),
    ] {
        assert_eq!(read(list([statement.clone()])), Err("UCAN_INVALID"), "{statement:?}");
    }
}

#[test]
fn big_and_deep_tokens_cost_nothing() {
    let started = std::time::Instant::now();
    assert_eq!(with("pol", Some(list([text(&"x".repeat(1 << 20))]))).unwrap_err().code(), "UCAN_TOO_LARGE");
    // 1,000 and 60,000 levels: refused before anything recurses.
    for levels in [1_000, 60_000] {
        let mut deep = vec![0x81; levels];
        deep.push(0x80);
        assert_eq!(Delegation::decode(&deep).unwrap_err().code(), "UCAN_TOO_LARGE");
    }
    // 128 wildcards on a text made to backtrack.
    let glob = list([list([text("like"), text(".a"), text(&format!("{}b", "*a".repeat(127)))])]);
    let victim = args([("a", text(&"a".repeat(60_000)))]);
    assert_eq!(Policy::from_ipld(&glob).unwrap().check(&victim), Err(Refusal::MatchError));
    // Quantifiers over quantifiers run out of steps, and running out is "no" even under `not`.
    let wide = list((0..200).map(|_| list((0..200).map(Ipld::Integer))));
    let all = list([text("all"), text("."), list([text("<"), text("."), Ipld::Integer(1_000)])]);
    let statement = list([text("not"), list([text("not"), list([text("all"), text(".a"), all])])]);
    let victim = args([("a", wide)]);
    assert_eq!(Policy::from_ipld(&list([statement])).unwrap().check(&victim), Err(Refusal::MatchError));
    assert!(started.elapsed().as_millis() < 500, "took {:?}", started.elapsed());
}

#[test]
fn numbers_and_missing_fields_never_panic() {
    let holds = |statement: Ipld, value: Ipld| {
        Policy::from_ipld(&list([statement])).unwrap().check(&args([("a", value)])).is_ok()
    };
    let compare = |operator: &str, path: &str, value: Ipld| list([text(operator), text(path), value]);
    assert!(holds(compare("==", ".a", Ipld::Integer(1)), Ipld::Float(1.0)));
    assert!(!holds(compare("==", ".a", Ipld::Float(f64::NAN)), Ipld::Float(f64::NAN)));
    assert!(!holds(compare("<", ".a", Ipld::Integer(2)), Ipld::Float(f64::NAN)));
    assert!(!holds(compare("<", ".a", Ipld::Integer(2)), text("1")));
    assert!(!holds(compare("==", ".a.b", Ipld::Null), Ipld::Integer(1)));
    assert!(!holds(compare("!=", ".a.b", Ipld::Null), Ipld::Integer(1)));
    assert!(holds(compare("==", ".missing", Ipld::Null), Ipld::Integer(1)));
}

#[test]
fn lints_name_what_is_wider_than_it_looks() {
    let lint = |statement: Ipld| Policy::from_ipld(&list([statement])).unwrap().lint().is_err();
    assert!(lint(list([text("or"), list([])])));
    let inner = || list([text("=="), text("."), Ipld::Integer(1)]);
    assert!(lint(list([text("any"), text(".a"), inner()])));
    assert!(lint(list([text("not"), list([text("any"), text(".a"), inner()])])));
    assert!(!lint(list([text("or"), list([inner()])])));
    assert!(Policy::pins_resource("qdrive:file:a").lint().is_ok());
}

#[test]
fn containers_are_bounded_and_exact() {
    let decode = |packed: &[u8]| container::decode(packed).map_err(|refusal| refusal.code());
    let two = container::encode([b"b".as_slice(), b"a", b"b"], container::Form::Bytes);
    assert_eq!(decode(&two), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
    for form in [container::Form::Base64, container::Form::Base64Url] {
        assert_eq!(decode(&container::encode([b"a".as_slice()], form)), Ok(vec![b"a".to_vec()]));
    }
    for packed in [
        b"".as_slice(),
        b"C",
        b"C====",
        b"@",
        b"@\xa0",
        b"@\xa1fctn-v2\x80",
        b"@\xa1fctn-v1\x81\x01",
        b"M",
        b"Pabc",
        b"Zabc",
    ] {
        assert_eq!(decode(packed), Err("UCAN_INVALID"), "{packed:?}");
    }
    assert_eq!(decode(&vec![b'@'; 300 * 1024]), Err("UCAN_TOO_LARGE"));
    let many: Vec<_> = (0..65_u8).map(|at| vec![at]).collect();
    let many = container::encode(many.iter().map(Vec::as_slice), container::Form::Bytes);
    assert_eq!(decode(&many), Err("UCAN_TOO_LARGE"));
}

#[test]
fn identifiers_compare_as_bytes() {
    let cid = TokenCid::of(b"x");
    let base58 = format!("z{}", bs58::encode(cid.to_link().to_bytes()).into_string());
    assert_eq!(base58.parse(), Ok(cid));
    assert!(cid.to_string().starts_with("bafyrei"));
    for text in [
        "",
        "Qm",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    ] {
        assert!(text.parse::<TokenCid>().is_err(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn a_damaged_token_is_refused_and_never_panics(at in 0_usize..400, with in 1_u8.., cut in 0_usize..400) {
        let (alice, bob) = (person(1), person(2));
        let mut draft = draft(&alice, &bob.did, Some(&alice.did), "/qdrive/file/read");
        draft.policy = Policy::pins_resource("qdrive:file:a");
        let token = draft.sign(&alice.key).unwrap().bytes().to_vec();
        let judge = |bytes: &[u8]| Delegation::decode(bytes).and_then(|it| verifier().delegation(&it));
        let mut damaged = token.clone();
        let at = at % token.len();
        damaged[at] ^= with;
        proptest::prop_assert!(judge(&damaged).is_err(), "byte {at}");
        proptest::prop_assert!(judge(&token[..cut % token.len()]).is_err());
        let _ = q_ucan::Invocation::decode(&damaged);
        let _ = container::decode(&damaged);
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in ".{0,60}") {
        let _ = Delegation::decode(&noise);
        let _ = q_ucan::Invocation::decode(&noise);
        let _ = container::decode(&noise);
        let _ = q_ucan::dag_json::inspect(&noise);
        let _ = text.parse::<q_ucan::policy::Selector>();
        let _ = text.parse::<q_ucan::Command>();
        let _ = text.parse::<q_ucan::Issuer>();
        let _ = text.parse::<TokenCid>();
    }
}
