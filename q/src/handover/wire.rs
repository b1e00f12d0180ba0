//! What two processes say to each other during a hand-over, and the descriptors that travel with it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};
use serde::{Deserialize, Serialize};

/// The most descriptors of one message; a process listens on one socket per module.
const DESCRIPTORS_MAX: usize = 64;
/// The longest message: a connection with the longest head of a request, and a little.
const MESSAGE_BYTES_MAX: usize = 96 << 10;

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "say")]
pub enum Word {
    /// Old to new: these sockets, one descriptor each.
    Sockets {
        /// Their names: a module, or `front_door`.
        names: Vec<String>,
    },
    /// New to old: the settings, the keys and the stores' shapes are as they have to be.
    Ready,
    /// Old to new: a connection between two requests, with one descriptor; what was read of the next request follows.
    Connection {
        /// The socket it was accepted on.
        listener: String,
        /// Who is at its other end.
        peer: SocketAddr,
    },
    /// Old to new: the stores are closed, and there are no more connections.
    Yours,
    /// New to old: it serves.
    Serving,
    /// New to old: it cannot go on, and has closed what it had opened.
    Failed {
        /// Why.
        why: String,
    },
}

/// What was heard.
pub struct Heard {
    pub word: Word,
    pub payload: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// One end of the line between the two.
pub struct Wire(OwnedFd);

impl Wire {
    /// A line: this process's end, and the one for the other.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        // One message is one packet, so that descriptors arrive with the words they belong to.
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that this process was given.
    pub fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Says `word`; waits while the other end has not read enough.
    pub fn say(&self, word: &Word, payload: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(word)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        let parts = [IoSlice::new(&length), IoSlice::new(&text), IoSlice::new(payload)];
        sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next word; `None` when the other process is gone.
    pub fn hear(&self, within: Duration) -> io::Result<Option<Heard>> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(within))?;
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut message)];
        let got = match recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => got,
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message of the hand-over was cut off"));
        }
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = part {
                descriptors.extend(some);
            }
        }
        message.truncate(got.bytes);
        let odd = || io::Error::other("a message of the hand-over makes no sense");
        let (length, rest) = message.split_first_chunk::<4>().ok_or_else(odd)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(io::Error::other)?;
        let (text, payload) = rest.split_at_checked(length).ok_or_else(odd)?;
        Ok(Some(Heard { word: serde_json::from_slice(text)?, payload: payload.to_vec(), descriptors }))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
