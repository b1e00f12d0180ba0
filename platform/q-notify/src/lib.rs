//! Telling people: webhook, e-mail, command. One message, one attempt, one outcome.
//!
//! Nothing here decides who is told or when: the caller keeps what is to be sent, tries again after [`pause`], and marks
//! it sent. A message has an id that travels along (`webhook-id`, `Message-ID`, `Q_MESSAGE_ID`), so that a receiver
//! recognises the rare second delivery of a sender that died between sending and noting it.
//!
//! **Invariant:** every attempt ends, in bounded time and with bounded memory, whatever the other side does.

mod channel;
mod command;
mod email;
mod message;
mod notifier;
mod post;
mod reach;
mod retry;
mod secret;
mod webhook;

pub use http::Uri;

pub use channel::{Channel, NotAChannel, channels};
pub use email::{Smtp, SmtpSettings};
pub use message::Message;
pub use notifier::{NotUsable, Notifier, SendError};
pub use post::{POST_TIMEOUT, Post, Poster};
pub use reach::{Allowed, NotAllowed, Reach};
pub use retry::{ATTEMPTS_MAX, pause};
pub use secret::{NotASecret, Secret, SigningKey};
