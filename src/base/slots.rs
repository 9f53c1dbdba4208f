//! A table whose keys stay valid until removed and are never mistaken for a later entry in the same place.

/// Names an entry: generation in the upper, place in the lower 32 bits.
pub type Key = u64;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A generational slot table; places are reused, keys are not (a generation wraps after 2^32 uses of one place).
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Entries now in the table.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that the next [`Slots::insert`] will give.
    pub fn next_key(&self) -> Key {
        match self.free.last() {
            Some(&place) => key(self.slots[place as usize].generation, place),
            None => key(0, self.slots.len() as u32),
        }
    }

    pub fn insert(&mut self, value: T) -> Key {
        let key_given = self.next_key();
        match self.free.pop() {
            Some(place) => self.slots[place as usize].value = Some(value),
            None => self.slots.push(Slot { generation: 0, value: Some(value) }),
        }
        key_given
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(place(key))?;
        if slot.generation == generation(key) { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(place(key))?;
        if slot.generation == generation(key) { slot.value.as_mut() } else { None }
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(place(key))?;
        if slot.generation != generation(key) {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(place(key) as u32);
        Some(value)
    }

    /// Entries in order of their place: stable for one history of inserts and removes.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| slot.value.as_ref().map(|value| (key(slot.generation, at as u32), value)))
    }

    /// As [`Slots::iter`], writable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| {
            let key = key(slot.generation, at as u32);
            slot.value.as_mut().map(|value| (key, value))
        })
    }
}

fn key(generation: u32, place: u32) -> Key {
    (u64::from(generation) << 32) | u64::from(place)
}

fn place(key: Key) -> usize {
    (key & 0xffff_ffff) as usize
}

fn generation(key: Key) -> u32 {
    (key >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_entry_never_finds_its_successor() {
        let mut slots = Slots::default();
        let first = slots.insert("a");
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.next_key(), slots.next_key());
        let expected = slots.next_key();
        let second = slots.insert("b");
        assert_eq!(second, expected);
        assert_ne!(first, second);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"b"));
        assert_eq!(slots.len(), 1);
    }
}
