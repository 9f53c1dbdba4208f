//! The names of the made-up disk. Changes are durable when they are answered, as `rt` carries them out; one that is in
//! flight when the power goes has happened, or not, or (a folder with its content) in part.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::prng::Prng;
use crate::port::disk::DirEntry;

/// Names a file whatever it is called; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inode(pub u64);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Dir,
    File(Inode),
}

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeError {
    NotFound,
    /// A folder where a file is asked for, or the other way round.
    WrongKind,
}

/// Every path that exists; the data folder itself is the empty one and always there.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    pub fn get(&self, path: &str) -> Option<Entry> {
        if path.is_empty() { Some(Entry::Dir) } else { self.entries.get(path).copied() }
    }

    /// The file behind a path.
    pub fn file(&self, path: &str) -> Result<Inode, TreeError> {
        match self.get(path) {
            Some(Entry::File(inode)) => Ok(inode),
            Some(Entry::Dir) => Err(TreeError::WrongKind),
            None => Err(TreeError::NotFound),
        }
    }

    fn parent_exists(&self, path: &str) -> Result<(), TreeError> {
        match self.get(parent(path)) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(TreeError::WrongKind),
            None => Err(TreeError::NotFound),
        }
    }

    /// Gives `path` to a file, over any file that had it.
    pub fn put_file(&mut self, path: &str, inode: Inode) -> Result<(), TreeError> {
        self.parent_exists(path)?;
        if self.get(path) == Some(Entry::Dir) {
            return Err(TreeError::WrongKind);
        }
        self.entries.insert(path.to_owned(), Entry::File(inode));
        Ok(())
    }

    /// Makes a folder and its parents.
    pub fn make_dir(&mut self, path: &str) -> Result<(), TreeError> {
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            match self.get(&path[..at]) {
                Some(Entry::Dir) => {}
                Some(Entry::File(_)) => return Err(TreeError::WrongKind),
                None => {
                    self.entries.insert(path[..at].to_owned(), Entry::Dir);
                }
            }
        }
        Ok(())
    }

    /// What a folder holds, by name; `len` gives the length of a file.
    pub fn list(&self, path: &str, len: impl Fn(Inode) -> u64) -> Result<Vec<DirEntry>, TreeError> {
        match self.get(path) {
            Some(Entry::Dir) => {}
            Some(Entry::File(_)) => return Err(TreeError::WrongKind),
            None => return Err(TreeError::NotFound),
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let inside = self.below(&prefix).filter(|(name, _)| !name[prefix.len()..].contains('/'));
        let mut entries: Vec<DirEntry> = inside
            .map(|(name, entry)| match entry {
                Entry::Dir => DirEntry { name: name[prefix.len()..].to_owned(), is_dir: true, len: 0 },
                Entry::File(inode) => {
                    DirEntry { name: name[prefix.len()..].to_owned(), is_dir: false, len: len(*inode) }
                }
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Entry)> + 'a {
        self.entries.range(prefix.to_owned()..).take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Renames a file over any file, or a folder to a name that is free or an empty folder's.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), TreeError> {
        let entry = self.get(from).ok_or(TreeError::NotFound)?;
        self.parent_exists(to)?;
        let target_prefix = format!("{to}/");
        match (entry, self.get(to)) {
            (Entry::File(_), Some(Entry::Dir)) | (Entry::Dir, Some(Entry::File(_))) => {
                return Err(TreeError::WrongKind);
            }
            (Entry::Dir, Some(Entry::Dir)) if self.below(&target_prefix).next().is_some() => {
                return Err(TreeError::WrongKind);
            }
            _ => {}
        }
        self.entries.remove(from);
        self.entries.insert(to.to_owned(), entry);
        let source_prefix = format!("{from}/");
        let inside: Vec<(String, Entry)> = self.below(&source_prefix).map(|(n, e)| (n.clone(), *e)).collect();
        for (name, entry) in inside {
            self.entries.remove(&name);
            self.entries.insert(format!("{to}/{}", &name[source_prefix.len()..]), entry);
        }
        Ok(())
    }

    /// Removes a file. `Ok(false)`: it was not there.
    pub fn remove(&mut self, path: &str) -> Result<bool, TreeError> {
        match self.get(path) {
            None => Ok(false),
            Some(Entry::Dir) => Err(TreeError::WrongKind),
            Some(Entry::File(_)) => Ok(self.entries.remove(path).is_some()),
        }
    }

    /// Removes a folder with what it holds. `Ok(false)`: it was not there.
    pub fn remove_dir(&mut self, path: &str) -> Result<bool, TreeError> {
        match self.get(path) {
            None => Ok(false),
            Some(Entry::File(_)) => Err(TreeError::WrongKind),
            Some(Entry::Dir) => {
                for name in self.inside(path) {
                    self.entries.remove(&name);
                }
                Ok(self.entries.remove(path).is_some())
            }
        }
    }

    /// A removal of a folder that the power cut caught: files are gone in any order, the folder last.
    pub fn remove_dir_in_part(&mut self, path: &str, random: &mut Prng) {
        for name in self.inside(path) {
            if matches!(self.get(&name), Some(Entry::File(_))) && random.chance(1, 2) {
                self.entries.remove(&name);
            }
        }
    }

    fn inside(&self, path: &str) -> Vec<String> {
        self.below(&format!("{path}/")).map(|(name, _)| name.clone()).collect()
    }

    /// Every file with its path.
    pub fn files(&self) -> impl Iterator<Item = (&str, Inode)> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File(inode) => Some((path.as_str(), *inode)),
            Entry::Dir => None,
        })
    }

    /// The inodes that have a name.
    pub fn inodes(&self) -> BTreeSet<Inode> {
        self.files().map(|(_, inode)| inode).collect()
    }
}

/// The folder of a path; empty: the data folder.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Whether a machine may name this path.
pub fn is_valid(path: &str) -> bool {
    !path.split('/').any(|part| part.is_empty() || part == "." || part == ".." || part.contains('\0'))
}
