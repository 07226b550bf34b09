//! A disk in memory that fails or loses power at a call that the test chooses.
//!
//! It keeps apart what programs see and what is on the platters, as a kernel does: an append changes the first, a sync
//! carries it to the second. After a sync that failed the kernel takes what it could not write for written: a later sync
//! succeeds and writes none of it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each test file uses its own part"
)]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rs_session::disk::{Disk, DiskFile};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine stops before the call does anything; all later calls fail too.
    CrashBefore,
    /// The machine stops when the call has done its work, and before it returns.
    CrashAfter,
    /// The call fails with this error and does nothing; later calls succeed.
    Fails(io::ErrorKind),
    /// An append puts half of its bytes and fails with "no space"; other calls fail as with [`Fault::Fails`].
    Short,
    /// From this call on everything fails with this error.
    Stays(io::ErrorKind),
}

/// What a power cut leaves of bytes that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    Gone,
    /// The first half.
    Half,
    /// All but the first sector.
    Hole,
    /// Only the process was killed: everything is there, names too.
    KilledOnly,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    platter: Vec<u8>,
    /// Bytes that the kernel takes for written and that are not.
    dropped: Vec<Range<usize>>,
    locked: bool,
}

impl Inode {
    fn without_dropped(&self) -> Vec<u8> {
        let mut bytes = self.seen.clone();
        for range in &self.dropped {
            let end = range.end.min(bytes.len());
            bytes[range.start.min(end)..end].fill(0);
        }
        bytes
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    calls: usize,
    fault: Option<(usize, Fault)>,
    crashed: bool,
    /// Syncs of a file after one of them failed.
    syncs_after_failure: usize,
}

/// The disk; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    /// A disk on which call number `at`, from 0, goes wrong.
    pub(crate) fn failing(at: usize, fault: Fault) -> Self {
        Self(Arc::new(Mutex::new(State { fault: Some((at, fault)), ..State::default() })))
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// Whether the chosen call was reached.
    pub(crate) fn went_wrong(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.fault.is_some_and(|(at, _)| state.calls > at)
    }

    /// How often a file was synced after a sync of it had failed.
    pub(crate) fn syncs_after_failure(&self) -> usize {
        self.0.lock().unwrap().syncs_after_failure
    }

    /// What the next start of the machine finds.
    pub(crate) fn after(&self, cut: Cut) -> Self {
        let state = self.0.lock().unwrap();
        let inodes = state.inodes.iter().map(|inode| {
            let seen = match cut {
                Cut::KilledOnly => {
                    return Inode { locked: false, ..inode.clone() };
                }
                Cut::Gone => inode.platter.clone(),
                Cut::Half | Cut::Hole => {
                    let written = inode.without_dropped();
                    match written.get(inode.platter.len()..) {
                        None => inode.platter.clone(),
                        Some(more) => torn(&inode.platter, more, cut),
                    }
                }
            };
            Inode { platter: seen.clone(), seen, dropped: Vec::new(), locked: false }
        });
        let names = if cut == Cut::KilledOnly { &state.names } else { &state.durable_names };
        Self(Arc::new(Mutex::new(State {
            inodes: inodes.collect(),
            names: names.clone(),
            durable_names: if cut == Cut::KilledOnly { state.durable_names.clone() } else { names.clone() },
            ..State::default()
        })))
    }

    /// The same disk, on which call number `at` from now goes wrong.
    pub(crate) fn with_fault(self, at: usize, fault: Fault) -> Self {
        {
            let mut state = self.0.lock().unwrap();
            (state.calls, state.fault) = (0, Some((at, fault)));
        }
        self
    }

    /// What a program sees in a file.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock().unwrap();
        state.names.get(path).map(|inode| state.inodes[*inode].seen.clone())
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }

    /// Counts a call and lets it go wrong if it is the chosen one. `work` is what it does when it goes well.
    fn call<T>(
        &self,
        short: impl FnOnce(&mut State),
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        if state.crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        let now = state.calls;
        state.calls += 1;
        match state.fault {
            Some((at, Fault::Stays(kind))) if now >= at => Err(kind.into()),
            Some((at, Fault::Fails(kind))) if now == at => Err(kind.into()),
            Some((at, Fault::Short)) if now == at => {
                short(&mut state);
                Err(io::ErrorKind::StorageFull.into())
            }
            Some((at, Fault::CrashBefore)) if now == at => {
                state.crashed = true;
                Err(io::Error::other("the machine stops"))
            }
            Some((at, Fault::CrashAfter)) if now == at => {
                drop(work(&mut state));
                state.crashed = true;
                Err(io::Error::other("the machine stops"))
            }
            _ => work(&mut state),
        }
    }

    fn file(&self, inode: usize) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { disk: self.clone(), inode, has_lock: std::cell::Cell::new(false) })
    }
}

fn torn(synced: &[u8], more: &[u8], cut: Cut) -> Vec<u8> {
    const SECTOR: usize = 512;
    let mut more = more.to_vec();
    match cut {
        Cut::Half => more.truncate(more.len() / 2),
        _ => {
            // To the next border of sectors the old bytes stand, and behind them one whole sector is missing.
            let hole = (synced.len() + 1).next_multiple_of(SECTOR) + SECTOR - synced.len();
            let hole = hole.min(more.len());
            more[..hole].fill(0);
        }
    }
    [synced, &more].concat()
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.call(
            |_| (),
            |state| {
                if state.names.contains_key(path) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                state.inodes.push(Inode::default());
                state.names.insert(path.to_owned(), state.inodes.len() - 1);
                Ok(state.inodes.len() - 1)
            },
        )?;
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.call(
            |_| (),
            |state| state.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into()),
        )?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(
            |_| (),
            |state| {
                let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
                state.names.insert(to.to_owned(), inode);
                Ok(())
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(
            |_| (),
            |state| state.names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()),
        )
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(
            |_| (),
            |state| {
                let here = |name: &Path| name.parent() == Some(path);
                state.durable_names.retain(|name, _| !here(name));
                let now: Vec<_> = state.names.iter().filter(|(name, _)| here(name)).collect();
                let now: Vec<_> = now.into_iter().map(|(name, inode)| (name.clone(), *inode)).collect();
                state.durable_names.extend(now);
                Ok(())
            },
        )
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
    has_lock: std::cell::Cell<bool>,
}

impl FaultyFile {
    /// Looks at the file; looking goes well as long as the machine runs.
    fn look<T>(&self, look: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut state = self.disk.0.lock().unwrap();
        if state.crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(look(&mut state.inodes[self.inode]))
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let inode = self.inode;
        self.disk.call(
            |state| state.inodes[inode].seen.extend_from_slice(&bytes[..bytes.len() / 2]),
            |state| {
                state.inodes[inode].seen.extend_from_slice(bytes);
                Ok(())
            },
        )
    }

    fn sync(&mut self) -> io::Result<()> {
        let inode = self.inode;
        if self.look(|inode| !inode.dropped.is_empty())? {
            self.disk.0.lock().unwrap().syncs_after_failure += 1;
        }
        let outcome = self.disk.call(
            |_| (),
            |state| {
                let file = &mut state.inodes[inode];
                file.platter = file.without_dropped();
                Ok(())
            },
        );
        if outcome.is_err() {
            // A machine that has stopped forgets it anyway.
            drop(self.look(|file| {
                let lost = file.platter.len().min(file.seen.len())..file.seen.len();
                file.dropped.push(lost);
            }));
        }
        outcome
    }

    fn reserve(&mut self, _end: u64) -> io::Result<()> {
        self.disk.call(|_| (), |_| Ok(()))
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let (inode, length) = (self.inode, usize::try_from(length).unwrap());
        self.disk.call(
            |_| (),
            |state| {
                let file = &mut state.inodes[inode];
                file.seen.truncate(length);
                file.dropped.retain(|range| range.start < length);
                Ok(())
            },
        )
    }

    fn length(&self) -> io::Result<u64> {
        self.look(|file| file.seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.look(|file| {
            let rest = file.seen.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            read
        })
    }

    fn forget_cached(&self, offset: u64) -> io::Result<()> {
        self.look(|file| {
            let from = usize::try_from(offset).unwrap();
            let disk = file.without_dropped();
            let from = from.min(disk.len());
            file.seen[from..].copy_from_slice(&disk[from..]);
            file.dropped.retain(|range| range.start < from);
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.look(|file| {
            let free = !file.locked || self.has_lock.get();
            file.locked = true;
            self.has_lock.set(free);
            free
        })
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        if self.has_lock.get()
            && let Ok(mut state) = self.disk.0.lock()
        {
            state.inodes[self.inode].locked = false;
        }
    }
}
