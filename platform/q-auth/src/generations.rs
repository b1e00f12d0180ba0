//! A bounded map that forgets the entries not used for longest, roughly and cheaply.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, mem};

/// Two maps: new and used entries go into the young one; when it is full the old one is dropped and
/// the young one becomes the old. Never holds more than twice `half_max` entries.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half_max: usize,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    pub(crate) fn new(half_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half_max }
    }

    /// The entry, without noting that it was used.
    pub(crate) fn peek<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<(&V, bool)>
    where
        K: Borrow<Q>,
    {
        match self.young.get(key) {
            Some(value) => Some((value, true)),
            None => self.old.get(key).map(|value| (value, false)),
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove<Q: ?Sized + Eq + Hash>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::Generations;

    #[test]
    fn stays_bounded_and_keeps_what_is_used() {
        let mut cache = Generations::new(4);
        for key in 0..100 {
            cache.insert(key, key);
            if cache.peek(&0).is_some_and(|(_, is_young)| !is_young) {
                cache.insert(0, 0);
            }
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.peek(&0).is_some(), "used at every step");
        assert!(cache.peek(&50).is_none());
        cache.remove(&0);
        assert!(cache.peek(&0).is_none());
    }
}
