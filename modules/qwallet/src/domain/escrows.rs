//! What may become of money that the house holds for two parties.
//!
//! **Invariant:** what is held ends once, and its parts together are exactly what was paid in.

use q_core::{Amount, Span};

/// When a payee gets what is held unless the payer chose another day.
pub const AUTO_RELEASE: Span = Span::seconds(14 * 86_400);

/// The furthest day a payer may choose.
pub const AUTO_RELEASE_MAX: Span = Span::seconds(366 * 86_400);

/// Where an escrow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The house holds the money.
    Held,
    /// It does, and a party objects to its release.
    Disputed,
    /// The payee, or whom the payer or the arbiter named, got it.
    Released,
    /// The payer got it back.
    Refunded,
}

impl State {
    const ALL: [Self; 4] = [Self::Held, Self::Disputed, Self::Released, Self::Refunded];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Held => 0,
            Self::Disputed => 1,
            Self::Released => 2,
            Self::Refunded => 3,
        }
    }

    /// The state with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The state with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Disputed => "DISPUTED",
            Self::Released => "RELEASED",
            Self::Refunded => "REFUNDED",
        }
    }

    /// Whether the house still holds the money for the parties.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Disputed)
    }
}

/// Who does something to an escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Who paid.
    Payer,
    /// Who is to be paid.
    Payee,
    /// Who decides a dispute.
    Arbiter,
    /// The day on which it is released by itself.
    Day,
}

/// What somebody wants of an escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// That it is given away.
    Release,
    /// That the payer gets it back.
    Refund,
    /// That it stays until the arbiter decides.
    Dispute,
}

/// The state after `actor` got its `wish`, or why not.
pub const fn decide(
    state: State,
    has_arbiter: bool,
    actor: Actor,
    wish: Wish,
) -> Result<State, &'static str> {
    match (state, actor, wish) {
        (State::Released | State::Refunded, ..) => {
            Err("the escrow has ended; GET /escrows/{escrowId} says how")
        }
        (State::Held, Actor::Payer | Actor::Day, Wish::Release)
        | (State::Disputed, Actor::Arbiter, Wish::Release) => Ok(State::Released),
        (State::Held | State::Disputed, Actor::Payee, Wish::Refund) => Ok(State::Refunded),
        (State::Held, Actor::Payer | Actor::Payee, Wish::Dispute) if has_arbiter => Ok(State::Disputed),
        (State::Held, Actor::Payer | Actor::Payee, Wish::Dispute) => {
            Err("no arbiter was agreed on, so nobody could decide a dispute")
        }
        (State::Disputed, Actor::Payer | Actor::Payee | Actor::Day, _) => {
            Err("the escrow is disputed: the arbiter decides, or the payee refunds")
        }
        (State::Held, Actor::Arbiter, _) => {
            Err("the escrow is not disputed, so the arbiter has nothing to decide")
        }
        (_, _, Wish::Refund) => Err("only the payee gives back; the payer disputes and the arbiter decides"),
        (_, _, Wish::Release) => Err("only the payer releases; the payee waits for the day or disputes"),
        (_, _, Wish::Dispute) => Err("only a party disputes, and only once"),
    }
}

/// Who may get a part: whoever the order named; an arbiter decides between the two parties and them, not for strangers.
pub fn may_get(recipient: &str, payer: &str, payee: &str, agreed: &[String]) -> bool {
    recipient == payer || recipient == payee || agreed.iter().any(|name| name == recipient)
}

/// Whether parts are each something and together exactly the whole.
pub fn is_whole(parts: impl IntoIterator<Item = Amount>, whole: Amount) -> bool {
    let sum = parts
        .into_iter()
        .try_fold(Amount::ZERO, |sum, part| if part.is_zero() { None } else { sum.checked_add(part) });
    sum == Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_allows_what_the_parties_agreed_on() {
        use {Actor::*, State::*, Wish::*};
        let rows = [
            (Held, Payer, Release, Some(Released)),
            (Held, Day, Release, Some(Released)),
            (Held, Payee, Release, None),
            (Held, Arbiter, Release, None),
            (Held, Payee, Refund, Some(Refunded)),
            (Held, Payer, Refund, None),
            (Held, Payer, Dispute, Some(Disputed)),
            (Held, Payee, Dispute, Some(Disputed)),
            (Held, Arbiter, Dispute, None),
            (Disputed, Arbiter, Release, Some(Released)),
            (Disputed, Payer, Release, None),
            (Disputed, Day, Release, None),
            (Disputed, Payee, Refund, Some(Refunded)),
            (Disputed, Payer, Dispute, None),
            (Released, Arbiter, Release, None),
            (Refunded, Payee, Refund, None),
        ];
        for (state, actor, wish, expected) in rows {
            assert_eq!(decide(state, true, actor, wish).ok(), expected, "{state:?} {actor:?} {wish:?}");
        }
        assert!(decide(Held, false, Payer, Dispute).is_err());
    }

    #[test]
    fn parts_are_the_whole_and_nothing_is_no_part() {
        let units = |list: &[u128]| list.iter().map(|units| Amount::from_units(*units)).collect::<Vec<_>>();
        assert!(is_whole(units(&[1, 2]), Amount::from_units(3)));
        assert!(!is_whole(units(&[1, 1]), Amount::from_units(3)));
        assert!(!is_whole(units(&[3, 0]), Amount::from_units(3)));
        assert!(!is_whole(units(&[u128::MAX, 4]), Amount::from_units(3)));
        assert!(!is_whole(units(&[]), Amount::ZERO.checked_add(Amount::from_units(1)).unwrap()));
    }
}
