//! How it is noticed that an event is missing: every producer counts, and so do we.

use q_core::Timestamp;

/// How far the log is with one producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerHead {
    /// The number the next event should have.
    pub next_seq: u64,
    /// What is missing before it, in order.
    pub missing: Vec<Missing>,
}

/// Numbers that were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

/// What the number of an event says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or one after a gap, or one that was missing: it belongs into the log.
    New,
    /// The number was seen: a second delivery, or another event under a used number.
    Seen,
}

impl ProducerHead {
    /// Notes the arrival of number `seq`.
    pub fn arrive(&mut self, seq: u64, now: Timestamp) -> Arrival {
        if seq >= self.next_seq {
            if seq > self.next_seq {
                self.missing.push(Missing { from: self.next_seq, to: seq - 1, noticed_at: now });
            }
            self.next_seq = seq + 1;
            return Arrival::New;
        }
        let Some(at) = self.missing.iter().position(|gap| (gap.from..=gap.to).contains(&seq)) else {
            return Arrival::Seen;
        };
        let gap = self.missing.remove(at);
        let after = Missing { from: seq + 1, ..gap };
        if after.from <= after.to {
            self.missing.insert(at, after);
        }
        if gap.from < seq {
            self.missing.insert(at, Missing { to: seq - 1, ..gap });
        }
        Arrival::New
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_opens_splits_and_closes() {
        let mut head = ProducerHead { next_seq: 1, missing: vec![] };
        let now = Timestamp::from_seconds(1);
        let ranges =
            |head: &ProducerHead| head.missing.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>();
        assert_eq!(head.arrive(1, now), Arrival::New);
        assert_eq!(head.arrive(1, now), Arrival::Seen);
        assert_eq!(head.arrive(6, now), Arrival::New);
        assert_eq!((head.next_seq, ranges(&head)), (7, vec![(2, 5)]));
        assert_eq!(head.arrive(4, now), Arrival::New);
        assert_eq!(ranges(&head), [(2, 3), (5, 5)]);
        assert_eq!(head.arrive(4, now), Arrival::Seen);
        for seq in [5, 2, 3] {
            assert_eq!(head.arrive(seq, now), Arrival::New);
        }
        assert_eq!((head.next_seq, ranges(&head)), (7, vec![]));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(arrivals in prop::collection::vec(0_u64..40, 0..80)) {
            let mut head = ProducerHead::default();
            let mut seen = std::collections::BTreeSet::new();
            for seq in arrivals {
                let expected = if seen.insert(seq) { Arrival::New } else { Arrival::Seen };
                prop_assert_eq!(head.arrive(seq, Timestamp::default()), expected);
                let next = seen.last().map_or(0, |last| last + 1);
                prop_assert_eq!(head.next_seq, next);
                let missing: Vec<u64> = head.missing.iter().flat_map(|gap| gap.from..=gap.to).collect();
                let expected: Vec<u64> = (0..next).filter(|seq| !seen.contains(seq)).collect();
                prop_assert_eq!(missing, expected);
            }
        }
    }
}
