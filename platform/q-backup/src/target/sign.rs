//! Signatures of requests to S3-compatible servers: AWS Signature Version 4 ("Authenticating Requests: Using the
//! Authorization Header").

use aws_lc_rs::{digest, hmac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use q_core::{Timestamp, hash::hex};

/// All but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whose requests.
#[derive(Clone)]
pub(super) struct Account {
    pub key_id: String,
    pub secret: String,
    pub session: Option<String>,
    pub region: String,
}

pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A path with each part escaped.
pub(super) fn escaped_path(path: &str) -> String {
    path.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

/// `a=b&c=d`, sorted and escaped, as it is signed and sent.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.sort();
    pairs.join("&")
}

/// The headers that prove a request.
pub(super) fn headers(
    account: &Account,
    now: Timestamp,
    method: &str,
    host: &str,
    path: &str,
    query: &str,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    // 2026-11-21T22:36:00.5Z → 20261121T223600Z
    let text: String = now.to_string().chars().take(19).filter(|sign| !matches!(sign, '-' | ':')).collect();
    let (instant, day) = (format!("{text}Z"), &text[..8]);
    let payload = hex(digest::digest(&digest::SHA256, body).as_ref());
    let mut signed = vec![("host", host.to_owned()), ("x-amz-content-sha256", payload.clone())];
    signed.push(("x-amz-date", instant.clone()));
    if let Some(session) = &account.session {
        signed.push(("x-amz-security-token", session.clone()));
    }
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = signed.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join("\n");
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n\n{names}\n{payload}");
    let scope = format!("{day}/{}/s3/aws4_request", account.region);
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{instant}\n{scope}\n{hashed}");
    let mut key = format!("AWS4{}", account.secret).into_bytes();
    for part in [day, &account.region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &to_sign));
    let credential = format!("{}/{scope}", account.key_id);
    let proof =
        format!("AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}");
    signed.push(("authorization", proof));
    signed
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_escaped_as_they_are_signed() {
        assert_eq!(escaped_path("/a b/c+d/ü~.-_"), "/a%20b/c%2Bd/%C3%BC~.-_");
        assert_eq!(query(&[("prefix", "a/b"), ("list-type", "2")]), "list-type=2&prefix=a%2Fb");
    }

    #[test]
    fn botocore_signs_alike() {
        let now: Timestamp = "2026-11-21T22:36:00.75Z".parse().unwrap();
        for (method, path, query, body, session) in [
            ("GET", "/vault", "list-type=2&prefix=some%20where%2Fchunks%2F", "", None),
            ("PUT", "/vault/some%20where/chunks/ab/ab%2Bcd", "", "content", None),
            ("DELETE", "/vault/x", "", "", Some("a session/of+AWS==")),
        ] {
            let script = q_oracle::script("botocore", env!("CARGO_MANIFEST_DIR"), "signature.py");
            let Some(mut script) = script else { return };
            let asked = serde_json::json!({
                "at": "20261121T223600Z", "method": method, "body": body, "region": "eu-central-1",
                "url": format!("http://h:1{path}?{query}").trim_end_matches('?'), "host": "h:1", "session": session,
            });
            let theirs = q_oracle::ask(&mut script, asked.to_string()).unwrap();
            let account = Account {
                key_id: "AKIDEXAMPLE".into(),
                secret: "secret/with+signs".into(),
                session: session.map(str::to_owned),
                region: "eu-central-1".into(),
            };
            let ours = headers(&account, now, method, "h:1", path, query, body.as_bytes());
            let ours = &ours.last().unwrap().1;
            assert_eq!(String::from_utf8(theirs).unwrap().trim().replace(", ", ","), *ours);
        }
    }
}
