//! Bytes that may lie in a file: what a connection sends is memory, or a part of a file that the kernel sends by
//! itself.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

/// A part of a file that a driver has brought into the page cache ([`DiskOp::Stage`](super::disk::DiskOp::Stage)) and
/// can send from there without a copy. Machines hand it on, cut it, and cannot look inside. The file stays open for
/// it, whatever becomes of its name and its number; what it reads is what the file holds when it is sent, so it is
/// asked for of bytes that will not change.
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<dyn Any + Send + Sync>,
    position: u64,
    len: u32,
}

impl FileRange {
    /// For drivers: `file` is how one finds the file again.
    pub fn new(file: Arc<dyn Any + Send + Sync>, position: u64, len: u32) -> FileRange {
        FileRange { file, position, len }
    }

    /// The driver's own; `None`: it is another driver's.
    pub fn file<T: Any>(&self) -> Option<&T> {
        self.file.downcast_ref()
    }

    /// Where it begins in the file, bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts off what is behind the first `len` bytes, if anything is.
    pub fn truncate(&mut self, len: u32) {
        self.len = self.len.min(len);
    }
}

/// The same bytes of the same open file.
impl PartialEq for FileRange {
    fn eq(&self, other: &FileRange) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && (self.position, self.len) == (other.position, other.len)
    }
}

impl Eq for FileRange {}

/// Some of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Memory(Bytes),
    File(FileRange),
}

impl Part {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Part::Memory(bytes) => bytes.len(),
            Part::File(range) => range.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in memory; `None`: it lies in a file.
    pub fn memory(&self) -> Option<&Bytes> {
        match self {
            Part::Memory(bytes) => Some(bytes),
            Part::File(_) => None,
        }
    }

    /// Bytes that it keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        self.memory().map_or(0, Bytes::len)
    }

    /// The bytes of parts that are all in memory, one after the other; `None`: one lies in a file.
    pub fn join(parts: &[Part]) -> Option<Bytes> {
        match parts {
            [one] => one.memory().cloned(),
            parts => {
                let slices: Option<Vec<&[u8]>> = parts.iter().map(|part| part.memory().map(Bytes::as_ref)).collect();
                Some(slices?.concat().into())
            }
        }
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Part {
        Part::Memory(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_equal_when_they_name_the_same_bytes_of_the_same_file() {
        let file: Arc<dyn Any + Send + Sync> = Arc::new(7u32);
        let mut range = FileRange::new(file.clone(), 10, 5);
        assert_eq!(range, FileRange::new(file.clone(), 10, 5));
        assert_ne!(range, FileRange::new(Arc::new(7u32), 10, 5));
        assert_eq!((range.file::<u32>(), range.file::<u64>()), (Some(&7), None));
        range.truncate(9);
        assert_eq!(range.len(), 5);
        range.truncate(3);
        assert_eq!(range, FileRange::new(file, 10, 3));
    }

    #[test]
    fn only_what_is_in_memory_can_be_joined() {
        let memory = |text: &'static str| Part::from(Bytes::from_static(text.as_bytes()));
        assert_eq!(Part::join(&[memory("ab"), memory(""), memory("c")]), Some(Bytes::from_static(b"abc")));
        assert_eq!(Part::join(&[memory("ab")]), Some(Bytes::from_static(b"ab")));
        assert_eq!(Part::join(&[]), Some(Bytes::new()));
        let range = FileRange::new(Arc::new(()), 0, 1);
        let range = Part::File(range);
        assert_eq!((range.len(), range.memory_bytes(), memory("ab").memory_bytes()), (1, 0, 2));
        assert_eq!(Part::join(&[memory("ab"), range]), None);
    }
}
