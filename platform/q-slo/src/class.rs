//! Route classes: which requests share a promise.

use serde::{Deserialize, Serialize};

/// The text does not describe classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not CLASS=METHOD PATH, such as payment=POST /payments*; * stands for any")]
pub struct NotClasses(pub String);

/// Requests of this method whose route begins like this are of this class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRule {
    /// The class.
    pub class: String,
    /// The method; `*` for any.
    pub method: String,
    /// The route as it is declared; a `*` at the end stands for any rest.
    pub route: String,
}

/// The classes, the first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes(Vec<ClassRule>);

/// Payments are promised most, writes wait for a disk, reads do not.
pub const DEFAULT: &str = "payment=POST /payments*; payment=POST /pay; read=GET *; write=* *";
/// The class of what no rule fits.
const OTHER: &str = "other";

impl Classes {
    /// The class of requests of `method` to `route`.
    pub fn of(&self, method: &str, route: &str) -> &str {
        let fits = |rule: &&ClassRule| {
            let is_method = rule.method == "*" || rule.method.eq_ignore_ascii_case(method);
            let is_route = match rule.route.strip_suffix('*') {
                Some(head) => route.starts_with(head),
                None => route == rule.route,
            };
            is_method && is_route
        };
        self.0.iter().find(fits).map_or(OTHER, |rule| &rule.class)
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[ClassRule] {
        &self.0
    }
}

impl Default for Classes {
    fn default() -> Self {
        DEFAULT.parse().expect("the default classes can be read")
    }
}

impl std::str::FromStr for Classes {
    type Err = NotClasses;
    fn from_str(text: &str) -> Result<Self, NotClasses> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
        let rule = |text: &str| {
            let (class, rest) = text.split_once('=')?;
            let (method, route) = rest.trim().split_once(' ')?;
            let (class, route) = (class.trim(), route.trim());
            let is_route = route == "*" || route.starts_with('/');
            (is_word(class) && (method == "*" || is_word(method)) && is_route).then(|| ClassRule {
                class: class.to_owned(),
                method: method.to_owned(),
                route: route.to_owned(),
            })
        };
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let rules: Result<Vec<_>, _> =
            parts.map(|part| rule(part).ok_or_else(|| NotClasses(part.to_owned()))).collect();
        Ok(Self(rules?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_counts() {
        let classes = Classes::default();
        for (method, route, class) in [
            ("POST", "/payments", "payment"),
            ("POST", "/payments/batch", "payment"),
            ("POST", "/pay", "payment"),
            ("GET", "/payments", "read"),
            ("POST", "/paying", "write"),
            ("DELETE", "/x", "write"),
        ] {
            assert_eq!(classes.of(method, route), class, "{method} {route}");
        }
        assert_eq!("read=GET *".parse::<Classes>().unwrap().of("POST", "/x"), OTHER);
    }

    #[test]
    fn nonsense_is_refused_with_the_part_that_is_meant() {
        for text in ["read", "read=GET", "read=GET x", "=GET *", "r d=GET *", "read=G/T *"] {
            assert_eq!(text.parse::<Classes>(), Err(NotClasses(text.into())));
        }
        assert!("read=GET *; write".parse::<Classes>().unwrap_err().to_string().contains("\"write\""));
    }
}
