//! Connections by number: a slot table whose ids carry a generation, so that an id is never given twice.

use crate::base::ids::ConnId;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Ids are `generation << 32 | slot`, generations start at 1: ids below 2^32 are free for other uses.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

/// The slot of an id.
pub fn slot_of(conn: ConnId) -> u32 {
    // The lower half is the slot.
    conn.0 as u32
}

impl<T> Slots<T> {
    pub fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, value: T) -> ConnId {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                // As many as there are descriptors, far below 2^32.
                self.slots.push(Slot { generation: 1, value: None });
                (self.slots.len() - 1) as u32
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(value);
        ConnId(u64::from(entry.generation) << 32 | u64::from(slot))
    }

    fn entry(&mut self, conn: ConnId) -> Option<&mut Slot<T>> {
        let entry = self.slots.get_mut(slot_of(conn) as usize)?;
        (u64::from(entry.generation) == conn.0 >> 32).then_some(entry)
    }

    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        self.entry(conn)?.value.as_mut()
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<T> {
        let entry = self.entry(conn)?;
        let value = entry.value.take()?;
        // A slot whose generations are used up stays empty for ever.
        if let Some(next) = entry.generation.checked_add(1) {
            entry.generation = next;
            self.free.push(slot_of(conn));
        }
        Some(value)
    }

    /// The ids in use, in order of their slots.
    pub fn ids(&self) -> Vec<ConnId> {
        let used = self.slots.iter().enumerate().filter(|(_, entry)| entry.value.is_some());
        used.map(|(slot, entry)| ConnId(u64::from(entry.generation) << 32 | slot as u64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_does_not_find_the_next_connection_in_its_slot() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(slot_of(first), slot_of(second));
        assert_ne!(first, second);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
        assert_eq!(slots.ids(), vec![second]);
    }
}
