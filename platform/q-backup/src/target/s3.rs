//! Backups in a bucket: put, get, list, delete, with the bucket in the path.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use q_core::Env;
use quick_xml::{Reader, events::Event};

use super::{
    Object,
    sign::{self, Account},
};
use crate::Error;

/// How long one request may take; objects are at most a few dozen megabytes.
const PATIENCE: Duration = Duration::from_mins(2);
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(300);
/// No object of ours is larger.
const BYTES_MAX: usize = 512 << 20;

/// A bucket, and a place in it.
#[derive(Clone)]
pub struct Bucket {
    name: String,
    /// Ends with `/` unless empty.
    prefix: String,
    endpoint: Uri,
    account: Account,
    env: Env,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Bucket {
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let (place, options) = text.split_once('?').unwrap_or((text, ""));
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        let (mut region, mut endpoint) = ("us-east-1".to_owned(), None);
        for (key, value) in options.split('&').filter_map(|option| option.split_once('=')) {
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            match key {
                "region" => region = value,
                "endpoint" => endpoint = Some(value),
                _ => {
                    return Err(Error::Text(format!(
                        "s3 targets have the options endpoint and region, not {key}"
                    )));
                }
            }
        }
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint: Uri = endpoint
            .trim_end_matches('/')
            .parse()
            .map_err(|_| Error::Text(format!("{endpoint} is no endpoint such as https://s3.example.org")))?;
        if name.is_empty() || endpoint.authority().is_none() || endpoint.scheme().is_none() {
            return Err(Error::Text(
                "a bucket is s3://bucket/prefix?endpoint=https://host&region=name".into(),
            ));
        }
        let of = |name: &str| {
            variable(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                Error::Text(format!(
                    "the variable {name} is not set: the keys of a bucket are in the environment"
                ))
            })
        };
        let account = Account {
            key_id: of("AWS_ACCESS_KEY_ID")?,
            secret: of("AWS_SECRET_ACCESS_KEY")?,
            session: variable("AWS_SESSION_TOKEN").filter(|token| !token.is_empty()),
            region,
        };
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| Error::Bucket(format!("the system's certificates cannot be read: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { name: name.to_owned(), prefix, endpoint, account, env: Env::system(), client })
    }

    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.ask(&Method::PUT, Some(name), &[], &Bytes::copy_from_slice(content)).map(|_| ())
    }

    pub fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.ask(&Method::GET, Some(name), &[], &Bytes::new()).map(Vec::from)
    }

    pub fn delete(&self, name: &str) -> Result<(), Error> {
        match self.ask(&Method::DELETE, Some(name), &[], &Bytes::new()) {
            Err(Error::Missing(_)) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    pub fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let whole = format!("{}{prefix}", self.prefix);
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut parameters = vec![("list-type", "2"), ("prefix", whole.as_str())];
            if let Some(token) = &token {
                parameters.push(("continuation-token", token));
            }
            let page = self.ask(&Method::GET, None, &parameters, &Bytes::new())?;
            let page = Page::read(&page)?;
            found.extend(page.objects.into_iter().map(|object| Object {
                name: object.name.strip_prefix(&self.prefix).unwrap_or(&object.name).to_owned(),
                ..object
            }));
            token = page.next;
            if token.is_none() {
                found.sort_by(|one: &Object, other| one.name.cmp(&other.name));
                return Ok(found);
            }
        }
    }

    /// Asks until it is answered, at most a few times. Called on threads that may wait.
    fn ask(
        &self,
        method: &Method,
        name: Option<&str>,
        parameters: &[(&str, &str)],
        body: &Bytes,
    ) -> Result<Bytes, Error> {
        let path = match name {
            Some(name) => sign::escaped_path(&format!("/{}/{}{name}", self.name, self.prefix)),
            None => sign::escaped_path(&format!("/{}", self.name)),
        };
        let query = sign::query(parameters);
        let attempt = || async {
            let once = self.once(method, &path, &query, body.clone());
            tokio::time::timeout(PATIENCE, once).await.unwrap_or_else(|_| Err("no answer in time".into()))
        };
        let asking = async {
            let mut tries = 1;
            loop {
                match attempt().await {
                    Ok((status, _)) if status.is_server_error() && tries < TRIES => {}
                    Err(_) if tries < TRIES => {}
                    answered => return answered,
                }
                tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
                tries += 1;
            }
        };
        let (status, answer) = crate::runtime::shared().block_on(asking).map_err(Error::Bucket)?;
        match status {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND if name.is_some() => {
                Err(Error::Missing(format!("s3://{}/{}{}", self.name, self.prefix, name.unwrap_or_default())))
            }
            status => {
                let said = String::from_utf8_lossy(&answer);
                let said: String = said.chars().take(300).collect();
                Err(Error::Bucket(format!("{method} {path} was answered {status}: {said}")))
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let host = self.endpoint.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = self.endpoint.scheme_str().unwrap_or("https");
        let headers =
            sign::headers(&self.account, self.env.now(), method.as_str(), &host, path, query, &body);
        let suffix = if query.is_empty() { String::new() } else { format!("?{query}") };
        let mut request = Request::builder().method(method).uri(format!("{scheme}://{host}{path}{suffix}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{} at {}", self.name, self.prefix.trim_end_matches('/'), self.endpoint)
    }
}

/// One page of a listing.
#[derive(Debug, Default)]
struct Page {
    objects: Vec<Object>,
    next: Option<String>,
}

impl Page {
    fn read(xml: &[u8]) -> Result<Self, Error> {
        let bad = |why: String| Error::Bucket(format!("the listing cannot be read: {why}"));
        let xml = std::str::from_utf8(xml).map_err(|error| bad(error.to_string()))?;
        let mut reader = Reader::from_str(xml);
        let (mut page, mut path, mut text) = (Self::default(), Vec::<String>::new(), String::new());
        let (mut name, mut bytes) = (String::new(), 0);
        loop {
            match reader.read_event().map_err(|error| bad(error.to_string()))? {
                Event::Start(tag) => {
                    path.push(tag.local_name().as_ref().to_owned());
                    text.clear();
                }
                Event::Text(part) => {
                    text.push_str(&part.xml10_content());
                }
                Event::GeneralRef(entity) => {
                    let sign = match entity.as_ref() {
                        "amp" => "&",
                        "lt" => "<",
                        "gt" => ">",
                        "quot" => "\"",
                        "apos" => "'",
                        other => return Err(bad(format!("&{other};"))),
                    };
                    text.push_str(sign);
                }
                Event::End(_) => {
                    let tag = path.pop().unwrap_or_default();
                    let within = path.last().map(String::as_str).unwrap_or_default();
                    match (within, tag.as_str()) {
                        ("Contents", "Key") => name = std::mem::take(&mut text),
                        ("Contents", "Size") => bytes = text.trim().parse().unwrap_or_default(),
                        (_, "Contents") => {
                            page.objects.push(Object { name: std::mem::take(&mut name), bytes });
                        }
                        (_, "NextContinuationToken") => page.next = Some(std::mem::take(&mut text)),
                        _ => {}
                    }
                }
                Event::Eof => return Ok(page),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_listing() {
        let xml = b"<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a&amp;b/c</Key>\
            <Size>7</Size></Contents><Contents><Key>d</Key><Size>9</Size></Contents>\
            <NextContinuationToken>x=</NextContinuationToken></ListBucketResult>";
        let page = Page::read(xml).unwrap();
        assert_eq!(page.objects.len(), 2);
        assert_eq!(page.objects[0], Object { name: "a&b/c".into(), bytes: 7 });
        assert_eq!(page.next.as_deref(), Some("x="));
        assert!(Page::read(b"<a>&evil;</a>").is_err());
    }

    #[test]
    fn says_what_is_missing() {
        let none = |_: &str| None;
        let refused = Bucket::parse("b/p?endpoint=http://127.0.0.1:1", none).err().unwrap().to_string();
        assert!(refused.contains("AWS_ACCESS_KEY_ID"), "{refused}");
        let keys = |_: &str| Some("k".to_owned());
        assert!(Bucket::parse("b?colour=red", keys).is_err());
        assert!(Bucket::parse("?endpoint=x", keys).is_err());
    }
}
